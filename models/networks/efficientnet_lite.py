"""EfficientNet-Lite (Tan and Le, 2019, https://arxiv.org/abs/1905.11946, and the notes of its Lite form in
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite); STAGES is the paper's Table 1.

Trained parameters at 1000 classes: lite0 4,652,008; lite1 5,416,680; lite2 6,092,072; lite3 8,197,096; lite4
13,006,568.
The Lite form departs from the paper as its notes say: no squeeze-and-excitation, ReLU6 for swish, and stem and head are
not scaled, nor are the repeats of the first and last block. Our departures: pixels scaled by 1/127.5 - 1, where the
notes have (x - 127) / 128; no stochastic depth.
"""

import math
from functools import partial

import keras
from keras import layers

from models.networks.architecture import Architecture, Paper
from models.networks.batch_norm import BatchNormalization
from models.networks.layers import Tensor, linear, pooled, scaled_images

PAPER = Paper("Tan and Le", 2019, "https://arxiv.org/abs/1905.11946")
STAGES = (  # (kernel size, stride, expansion, filters, repeats) of stages 2 to 8 of lite0
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
VARIANTS = {  # name: (width, depth, side in pixels, dropout)
    "efficientnet_lite0": (1.0, 1.0, 224, 0.2),
    "efficientnet_lite1": (1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": (1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": (1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": (1.4, 1.8, 300, 0.3),
}
MULTI_STAGE = 4  # stages before the last one whose outputs a last layer may take besides
STEM, HEAD, MULTIPLE = 32, 1280, 8  # filters of the first and last convolution; all others are multiples of 8


def efficientnet_lite(
    name: str, *, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.2, multi_stage: bool = False
) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes).

    Args:
        multi_stage: the last layer takes the pooled outputs of stages 5 to 8, too, and not that of stage 9 alone.
    """
    width, depth, _, _ = VARIANTS[name]
    images, x = scaled_images(input_shape)
    x = conv_bn(x, STEM, 3, "stage1", strides=2)  # (B, H/2, W/2, 32)
    ends = []  # the output of each of stages 2 to 8
    for number, (kernel_size, stride, expansion, filters, repeats) in enumerate(STAGES, start=2):
        scaled = repeats if number in (2, 8) else math.ceil(depth * repeats)
        for i in range(1, scaled + 1):
            x = block(
                x,
                scaled_filters(filters, width),
                kernel_size,
                f"stage{number}_{i}",
                strides=stride if i == 1 else 1,
                expansion=expansion,
            )
        ends.append(x)
    x = conv_bn(x, HEAD, 1, "stage9")  # (B, H/32, W/32, 1280)
    x = pooled([*ends[-MULTI_STAGE:], x]) if multi_stage else layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(images, linear(x, num_classes), name=name)


def block(x: Tensor, filters: int, kernel_size: int, name: str, *, strides: int, expansion: int) -> Tensor:
    """MBConv, the inverted residual of MobileNetV2: expand, filter each channel by itself, project; (B, H, W, C)."""
    shortcut, channels = x, x.shape[-1]
    if expansion > 1:
        x = conv_bn(x, expansion * channels, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise",
    )(x)
    x = relu6(batch_norm(x, f"{name}_depthwise_bn"), f"{name}_depthwise_relu6")
    x = conv_bn(x, filters, 1, f"{name}_project", activated=False)
    return layers.Add(name=name)([shortcut, x]) if strides == 1 and channels == filters else x


def conv_bn(
    x: Tensor, filters: int, kernel_size: int, name: str, *, strides: int = 1, activated: bool = True
) -> Tensor:
    """Convolution padded as TensorFlow does, which is lopsided at stride 2; batch normalisation; ReLU6."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = batch_norm(x, f"{name}_bn")
    return relu6(x, f"{name}_relu6") if activated else x


def batch_norm(x: Tensor, name: str) -> Tensor:
    return BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)


def relu6(x: Tensor, name: str) -> Tensor:
    return layers.ReLU(max_value=6.0, name=name)(x)


def scaled_filters(filters: int, width: float) -> int:
    """The multiple of 8 nearest to `width` times as many filters, and not below nine tenths of that."""
    wanted = filters * width
    found = max(MULTIPLE, int(wanted + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
    return found + MULTIPLE if found < 0.9 * wanted else found


NETWORKS = tuple(
    Architecture(
        name,
        partial(efficientnet_lite, name, dropout=dropout),
        PAPER,
        input_shape=(side, side, 3),
        normalised=True,
        depthwise=True,
        multi_stage=True,
        tail="stage7",
    )
    for name, (_, _, side, dropout) in VARIANTS.items()
)
