"""ViT (https://arxiv.org/abs/2010.11929) and ConvNeXt (https://arxiv.org/abs/2201.03545) at their smallest, as Hugging
Face has them: float pixels with the channels first, `pixel_values`, and `logits` out.
"""

from typing import Any

import keras
from keras import layers, ops


def vit(side: int, num_classes: int) -> keras.Model:
    """ViT-Ti/16: float32 pixels (B, 3, H, W) in [-1, 1] -> logits."""
    width, depth, heads, patch = 192, 12, 3, 16
    pixels = keras.Input((3, side, side), name="pixel_values")
    x = layers.Permute((2, 3, 1))(pixels)
    x = layers.Conv2D(width, patch, strides=patch)(x)
    x = Positions()(layers.Reshape((-1, width))(x))
    for _ in range(depth):
        y = layers.LayerNormalization(epsilon=1e-12)(x)
        x += layers.MultiHeadAttention(heads, width // heads)(y, y)
        y = layers.LayerNormalization(epsilon=1e-12)(x)
        x += layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(y))
    first = layers.LayerNormalization(epsilon=1e-12)(x)[:, 0]
    return keras.Model(pixels, {"logits": layers.Dense(num_classes)(first)}, name="vit")


class Positions(layers.Layer):
    """Puts the class token before the patches, and adds to each token what stands for its position."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[2]), initializer="random_normal", name="token")
        self.positions = self.add_weight(
            shape=(1, shape[1] + 1, shape[2]), initializer="random_normal", name="positions"
        )

    def call(self, patches: Any) -> Any:
        tokens = ops.repeat(self.token, ops.shape(patches)[0], axis=0)
        return ops.concatenate([tokens, patches], axis=1) + self.positions


def convnext(side: int, num_classes: int) -> keras.Model:
    """ConvNeXt-Atto: float32 pixels (B, 3, H, W), as of ImageNet -> logits."""
    pixels = keras.Input((3, side, side), name="pixel_values")
    x = layers.Permute((2, 3, 1))(pixels)
    for stage, (width, depth) in enumerate(((40, 2), (80, 2), (160, 6), (320, 2))):
        if stage == 0:
            x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(width, 4, strides=4)(x))
        else:
            x = layers.Conv2D(width, 2, strides=2)(layers.LayerNormalization(epsilon=1e-6)(x))
        for _ in range(depth):
            y = layers.LayerNormalization(epsilon=1e-6)(layers.DepthwiseConv2D(7, padding="same")(x))
            y = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(y))
            x += Scale()(y)
    x = layers.LayerNormalization(epsilon=1e-12)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, {"logits": layers.Dense(num_classes)(x)}, name="convnext")


class Scale(layers.Layer):
    """A number for each channel, with which a block begins as next to nothing."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.Constant(1e-6), name="gamma")

    def call(self, x: Any) -> Any:
        return x * self.gamma
