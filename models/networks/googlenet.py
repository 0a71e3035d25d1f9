"""GoogLeNet (Szegedy et al., 2014, https://arxiv.org/abs/1409.4842); MODULES is its Table 1.

Trained parameters at 1000 classes: 6,998,552; with the two auxiliary heads of training 13,378,280 at 224x224.
Departures: weights drawn as He et al. (2015) do; local response normalisation with the constants of Krizhevsky et al.
(2012), since the paper does not name its own; pooling pads so that a size of n becomes n / 2, rounded up; the
paper's mean is not subtracted, since the input is scaled to [-1, 1].
"""

import keras
from keras import layers

from models.networks.architecture import Architecture, Paper
from models.networks.layers import LocalResponseNormalization, Tensor, conv, linear, relu, scaled_images

PAPER = Paper("Szegedy et al.", 2014, "https://arxiv.org/abs/1409.4842")
MODULES = {  # filters: 1x1; 1x1 before 3x3, 3x3; 1x1 before 5x5, 5x5; 1x1 after pooling
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED_AFTER = ("3b", "4e")
AUXILIARY_AFTER = ("4a", "4d")
AUXILIARY_WEIGHT = 0.3  # section 5


def googlenet(
    *, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.4, auxiliary: bool = False
) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes).

    Args:
        dropout: rate before the last layer, as in the paper; its auxiliary heads have 0.7 in any case.
        auxiliary: for training; the outputs are then {"logits", "auxiliary_4a", "auxiliary_4d"}, each such logits.
    """
    images, x = scaled_images(input_shape)
    x = conv_relu(x, 64, 7, "conv1", strides=2)
    x = LocalResponseNormalization(name="lrn1")(pool(x, "pool1"))  # (B, H/4, W/4, 64)
    x = conv_relu(x, 64, 1, "conv2_reduce")
    x = LocalResponseNormalization(name="lrn2")(conv_relu(x, 192, 3, "conv2"))
    x = pool(x, "pool2")  # (B, H/8, W/8, 192)
    heads = {}
    for name, filters in MODULES.items():
        x = inception_module(x, filters, f"inception_{name}")
        if auxiliary and name in AUXILIARY_AFTER:
            heads[f"auxiliary_{name}"] = auxiliary_head(x, num_classes, name=f"auxiliary_{name}")
        if name in POOLED_AFTER:
            x = pool(x, f"pool{name[0]}")
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    logits = linear(x, num_classes)
    return keras.Model(images, {"logits": logits, **heads} if auxiliary else logits, name="googlenet")


def inception_module(x: Tensor, filters: tuple[int, int, int, int, int, int], name: str) -> Tensor:
    """Figure 2b: four branches side by side, named as the columns of Table 1."""
    one, before_three, three, before_five, five, after_pooling = filters
    pooled = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    branches = [
        conv_relu(x, one, 1, f"{name}_1x1"),
        conv_relu(conv_relu(x, before_three, 1, f"{name}_3x3_reduce"), three, 3, f"{name}_3x3"),
        conv_relu(conv_relu(x, before_five, 1, f"{name}_5x5_reduce"), five, 5, f"{name}_5x5"),
        conv_relu(pooled, after_pooling, 1, f"{name}_pool_proj"),
    ]
    return layers.Concatenate(name=f"{name}_output")(branches)


def conv_relu(x: Tensor, filters: int, kernel_size: int, name: str, *, strides: int = 1) -> Tensor:
    return relu(conv(x, filters, kernel_size, strides=strides, name=name), f"{name}_relu")


def auxiliary_head(x: Tensor, num_classes: int, *, name: str) -> Tensor:
    """Section 5: a classifier half way, whose loss brings gradients to the lower layers."""
    x = layers.AveragePooling2D(5, strides=3)(x)  # (B, 4, 4, ...) at 224x224
    x = layers.Flatten()(relu(conv(x, 128, 1)))
    x = layers.Dense(1024, activation="relu", kernel_initializer="he_normal")(x)
    x = layers.Dropout(0.7)(x)
    return layers.Dense(num_classes, dtype="float32", name=name)(x)


def pool(x: Tensor, name: str) -> Tensor:
    return layers.MaxPooling2D(3, strides=2, padding="same", name=name)(x)


NETWORKS = (
    # At 65 pixels the maps after 4a have the 5x5 that an auxiliary head pools.
    Architecture("googlenet", googlenet, PAPER, smallest=65, auxiliary_weight=AUXILIARY_WEIGHT),
)
