"""ResNet (He et al., 2015, https://arxiv.org/abs/1512.03385); STAGES is its Table 1, DEPTHS its section 4.2.

Trained parameters at 1000 classes: resnet18 11,689,512; resnet34 21,797,672; resnet50 25,557,032; resnet101 44,549,160;
resnet152 60,192,808. At 10 classes: resnet20 269,722; resnet32 464,154; resnet44 658,586; resnet56 853,018; resnet110
1,727,962.
resnet50_v1, resnet101_v1 and resnet152_v1 are the paper's, whose bottlenecks stride in their first 1x1; their weights
have the shapes of the others', and another meaning.
Departures: other bottlenecks stride in their 3x3, since a strided 1x1 skips 3/4 of its input ("v1.5"); resnet18 and
resnet34 project where shapes differ (option B; Table 2 has option A, and Table 3 resnet34 with either); images of up
to 64 pixels get a 3x3 stem without pooling, since the paper's stem would leave a 32x32 image one pixel.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import keras
from keras import layers, ops

from models.networks.architecture import Architecture, Paper
from models.networks.layers import Tensor, conv_bn, is_small, linear, relu, scaled_images

PAPER = Paper("He et al.", 2015, "https://arxiv.org/abs/1512.03385")
StrideIn = Literal["1x1", "3x3"]


def resnet(
    name: str, *, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.0, stride_in: StrideIn = "3x3"
) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes).

    Args:
        dropout: rate before the last layer; the paper has no dropout.
        stride_in: which convolution of a bottleneck halves.
    """
    block, blocks_per_stage = STAGES[name.removesuffix("_v1")]
    if block is bottleneck_block:
        block = partial(bottleneck_block, stride_in=stride_in)
    images, x = scaled_images(input_shape)
    x = small_stem(x, 64) if is_small(input_shape) else paper_stem(x)
    for stage, num_blocks in enumerate(blocks_per_stage):
        for i in range(num_blocks):
            halve = stage > 0 and i == 0  # the stem has already set the resolution of stage 0
            part = f"conv{stage + 2}_block{i + 1}"  # of conv2_x to conv5_x in Table 1
            x = block(x, filters=64 * 2**stage, strides=2 if halve else 1, name=part)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(images, linear(x, num_classes), name=name)


def cifar_resnet(
    depth: int, *, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.0
) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes), of 6n + 2 layers: section 4.2.

    Args:
        dropout: rate before the last layer, of which the paper has none.
    """
    images, x = scaled_images(input_shape)
    x = small_stem(x, 16)
    for stage in range(3):
        for i in range((depth - 2) // 6):
            halve = stage > 0 and i == 0
            name = f"conv{stage + 2}_block{i + 1}"
            x = basic_block(x, filters=16 * 2**stage, strides=2 if halve else 1, name=name, shortcut=option_a)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(images, linear(x, num_classes), name=f"resnet{depth}")


def paper_stem(x: Tensor) -> Tensor:
    """conv1 and its pooling: (B, H, W, C) -> (B, H/4, W/4, 64)."""
    x = relu(conv_bn(x, 64, 7, strides=2, name="conv1"), "conv1_relu")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)  # after ReLU no value is negative: a padded 0 changes no maximum
    return layers.MaxPooling2D(3, strides=2, name="pool1")(x)


def small_stem(x: Tensor, filters: int) -> Tensor:
    """The stem of the paper's CIFAR networks: (B, H, W, C) -> (B, H, W, filters)."""
    return relu(conv_bn(x, filters, 3, name="conv1"), "conv1_relu")


def option_a(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
    """Section 3.3, option A: the identity, which skips pixels and has zeros for the channels that are new."""
    if strides > 1:
        x = layers.MaxPooling2D(1, strides=strides, name=f"{name}_skip")(x)  # of one pixel: it only skips
    return x if x.shape[-1] == filters else PadChannels(filters, name=name)(x)


def option_b(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
    """Section 3.3, option B: the identity where shapes agree, else a 1x1 projection."""
    if strides == 1 and x.shape[-1] == filters:
        return x
    return conv_bn(x, filters, 1, strides=strides, name=name)


def basic_block(
    x: Tensor, *, filters: int, strides: int, name: str, shortcut: Callable[[Tensor, int, int, str], Tensor] = option_b
) -> Tensor:
    """Figure 5, left: two 3x3 convolutions beside a shortcut."""
    y = relu(conv_bn(x, filters, 3, strides=strides, name=f"{name}_1"), f"{name}_1_relu")
    y = conv_bn(y, filters, 3, name=f"{name}_2")
    y = layers.Add(name=f"{name}_add")([y, shortcut(x, filters, strides, f"{name}_shortcut")])
    return relu(y, f"{name}_relu")


def bottleneck_block(x: Tensor, *, filters: int, strides: int, name: str, stride_in: StrideIn) -> Tensor:
    """Figure 5, right: 1x1, 3x3, 1x1 with four times the filters, beside a shortcut."""
    first, second = (strides, 1) if stride_in == "1x1" else (1, strides)
    y = relu(conv_bn(x, filters, 1, strides=first, name=f"{name}_1"), f"{name}_1_relu")
    y = relu(conv_bn(y, filters, 3, strides=second, name=f"{name}_2"), f"{name}_2_relu")
    y = conv_bn(y, 4 * filters, 1, name=f"{name}_3")
    y = layers.Add(name=f"{name}_add")([y, option_b(x, 4 * filters, strides, f"{name}_shortcut")])
    return relu(y, f"{name}_relu")


class PadChannels(layers.Layer):
    """(B, H, W, C) -> (B, H, W, channels): zeros behind the channels that there are."""

    def __init__(self, channels: int, **options: object) -> None:
        super().__init__(**options)
        self.channels = channels

    def call(self, x: Tensor) -> Tensor:
        return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.channels - x.shape[-1])))


STAGES: dict[str, tuple[Callable[..., Tensor], tuple[int, int, int, int]]] = {
    # name: (block, blocks in conv2_x .. conv5_x)
    "resnet18": (basic_block, (2, 2, 2, 2)),
    "resnet34": (basic_block, (3, 4, 6, 3)),
    "resnet50": (bottleneck_block, (3, 4, 6, 3)),
    "resnet101": (bottleneck_block, (3, 4, 23, 3)),
    "resnet152": (bottleneck_block, (3, 8, 36, 3)),
}
DEPTHS = (20, 32, 44, 56, 110)  # of the networks for CIFAR-10

NETWORKS = (
    *(Architecture(name, partial(resnet, name), PAPER, normalised=True, tail="conv5") for name in STAGES),
    *(
        Architecture(f"{name}_v1", partial(resnet, f"{name}_v1", stride_in="1x1"), PAPER, normalised=True, tail="conv5")
        for name in ("resnet50", "resnet101", "resnet152")
    ),
    *(
        Architecture(f"resnet{depth}", partial(cifar_resnet, depth), PAPER, (32, 32, 3), 10, normalised=True)
        for depth in DEPTHS
    ),
)
