"""ResNet (He et al., 2015, https://arxiv.org/abs/1512.03385); STAGES is its Table 1.

Trained parameters at 1000 classes: resnet18 11,689,512; resnet34 21,797,672; resnet50 25,557,032.
Departures: bottlenecks stride in their 3x3, since a strided 1x1 skips 3/4 of its input ("v1.5"); images of
up to 64 pixels get a 3x3 stem without pooling, since the paper's stem would leave a 32x32 image one pixel.
"""

from collections.abc import Callable

import keras
from keras import layers

LARGEST_SMALL_IMAGE = 64  # pixels of the shorter side; up to here the stem keeps the full resolution


def resnet(
    name: str, *, input_shape: tuple[int, int, int], num_classes: int, dropout: float | None = None
) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes).

    Args:
        dropout: rate before the last layer; the paper has none, and that is the default.
    """
    block, blocks_per_stage = STAGES[name]
    images = keras.Input(input_shape, dtype="uint8", name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(images)
    x = small_stem(x) if min(input_shape[:2]) <= LARGEST_SMALL_IMAGE else paper_stem(x)
    for stage, num_blocks in enumerate(blocks_per_stage):
        for i in range(num_blocks):
            halve = stage > 0 and i == 0  # the stem has already set the resolution of stage 0
            x = block(x, filters=64 * 2**stage, strides=2 if halve else 1)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout or 0.0)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name=name)


def paper_stem(x: keras.KerasTensor) -> keras.KerasTensor:
    """conv1 and its pooling: (B, H, W, C) -> (B, H/4, W/4, 64)."""
    x = layers.ReLU()(conv_bn(x, 64, kernel_size=7, strides=2))
    return layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))  # after ReLU, zero is no maximum


def small_stem(x: keras.KerasTensor) -> keras.KerasTensor:
    """The stem of the paper's CIFAR networks: (B, H, W, C) -> (B, H, W, 64)."""
    return layers.ReLU()(conv_bn(x, 64, kernel_size=3))


def basic_block(x: keras.KerasTensor, *, filters: int, strides: int) -> keras.KerasTensor:
    """Figure 5, left: two 3x3 convolutions beside a shortcut."""
    y = layers.ReLU()(conv_bn(x, filters, kernel_size=3, strides=strides))
    y = conv_bn(y, filters, kernel_size=3)
    return layers.ReLU()(layers.Add()([y, shortcut(x, filters, strides)]))


def bottleneck_block(x: keras.KerasTensor, *, filters: int, strides: int) -> keras.KerasTensor:
    """Figure 5, right: 1x1, 3x3, 1x1 with four times the filters, beside a shortcut."""
    y = layers.ReLU()(conv_bn(x, filters, kernel_size=1))
    y = layers.ReLU()(conv_bn(y, filters, kernel_size=3, strides=strides))
    y = conv_bn(y, 4 * filters, kernel_size=1)
    return layers.ReLU()(layers.Add()([y, shortcut(x, 4 * filters, strides)]))


def shortcut(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    """The identity where shapes agree, else the 1x1 projection of option B (section 3.3)."""
    if strides == 1 and x.shape[-1] == filters:
        return x
    return conv_bn(x, filters, kernel_size=1, strides=strides)


def conv_bn(x: keras.KerasTensor, filters: int, *, kernel_size: int, strides: int = 1) -> keras.KerasTensor:
    """Convolution padded alike on all sides, then batch normalisation, which makes a bias pointless."""
    if strides > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2)(x)  # at stride 2 Keras's "same" is lopsided
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same" if strides == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


STAGES: dict[str, tuple[Callable[..., keras.KerasTensor], tuple[int, int, int, int]]] = {
    # name: (block, blocks in conv2_x .. conv5_x)
    "resnet18": (basic_block, (2, 2, 2, 2)),
    "resnet34": (basic_block, (3, 4, 6, 3)),
    "resnet50": (bottleneck_block, (3, 4, 6, 3)),
}
