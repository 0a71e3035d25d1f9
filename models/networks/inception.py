"""Inception v3 (Szegedy et al., 2015, https://arxiv.org/abs/1512.00567), as it is known from code.

Trained parameters at 1000 classes: 23,817,352; 23,851,784 with the moving means and variances.
Departures from the text, with the code that its authors published: after the first pooling a 1x1 and a 3x3 convolution
and a second pooling, where Table 1 has three 3x3; a reduction and four modules at 17x17, where it has five; the
modules' widths, which it does not give. Departures from that code: no auxiliary head, and no dropout unless a rate is
given.
"""

import keras
from keras import layers

from models.networks.architecture import Architecture, Paper
from models.networks.batch_norm import BatchNormalization
from models.networks.layers import Tensor, conv, linear, relu, scaled_images

PAPER = Paper("Szegedy et al.", 2015, "https://arxiv.org/abs/1512.00567")


def inception_v3(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.0) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). The paper has no dropout."""
    images, x = scaled_images(input_shape)
    x = chain(x, (32, 3, HALVE), (32, 3, VALID), (64, 3))  # 299 -> 149 -> 147
    x = layers.MaxPooling2D(3, strides=2)(x)  # 73
    x = chain(x, (80, 1), (192, 3, VALID))  # 71
    x = layers.MaxPooling2D(3, strides=2)(x)  # 35
    for i, pooled in enumerate((32, 64, 64), start=1):
        x = module_of_fives(x, pooled, f"figure5_{i}")  # (B, 35, 35, 256), then 288
    x = reduction_a(x)  # (B, 17, 17, 768)
    for i, width in enumerate((128, 160, 160, 192), start=1):
        x = module_of_sevens(x, width, f"figure6_{i}")
    x = reduction_b(x)  # (B, 8, 8, 1280)
    for i in (1, 2):
        x = module_spread_out(x, f"figure7_{i}")  # (B, 8, 8, 2048)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(images, linear(x, num_classes), name="inception_v3")


def module_of_fives(x: Tensor, pooled: int, name: str) -> Tensor:
    """Figure 5, with one 5x5 left: (B, H, W, C) -> (B, H, W, 224 + pooled)."""
    return layers.Concatenate(name=name)(
        [
            chain(x, (64, 1)),
            chain(x, (48, 1), (64, 5)),
            chain(x, (64, 1), (96, 3), (96, 3)),
            chain(average(x), (pooled, 1)),
        ]
    )


def module_of_sevens(x: Tensor, width: int, name: str) -> Tensor:
    """Figure 6: a 7x7 as 1x7 and 7x1, once and twice: (B, H, W, C) -> (B, H, W, 768)."""
    return layers.Concatenate(name=name)(
        [
            chain(x, (192, 1)),
            chain(x, (width, 1), (width, (1, 7)), (192, (7, 1))),
            chain(x, (width, 1), (width, (7, 1)), (width, (1, 7)), (width, (7, 1)), (192, (1, 7))),
            chain(average(x), (192, 1)),
        ]
    )


def module_spread_out(x: Tensor, name: str) -> Tensor:
    """Figure 7: 1x3 and 3x1 beside each other, where maps are small: (B, H, W, C) -> (B, H, W, 2048)."""
    return layers.Concatenate(name=name)(
        [
            chain(x, (320, 1)),
            *spread_out(chain(x, (384, 1))),
            *spread_out(chain(x, (448, 1), (384, 3))),
            chain(average(x), (192, 1)),
        ]
    )


def spread_out(x: Tensor) -> tuple[Tensor, Tensor]:
    return chain(x, (384, (1, 3))), chain(x, (384, (3, 1)))


def reduction_a(x: Tensor) -> Tensor:
    """Figure 10: half the height and width without a bottleneck, 35 -> 17."""
    return layers.Concatenate(name="figure10_1")(
        [chain(x, (384, 3, HALVE)), chain(x, (64, 1), (96, 3), (96, 3, HALVE)), layers.MaxPooling2D(3, strides=2)(x)]
    )


def reduction_b(x: Tensor) -> Tensor:
    """The same again, 17 -> 8."""
    return layers.Concatenate(name="figure10_2")(
        [
            chain(x, (192, 1), (320, 3, HALVE)),
            chain(x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, HALVE)),
            layers.MaxPooling2D(3, strides=2)(x),
        ]
    )


VALID = {"padding": 0}
HALVE = {"padding": 0, "strides": 2}


def chain(x: Tensor, *convolutions: tuple) -> Tensor:
    """Convolutions one after the other, each (filters, kernel size[, options]) with batch normalisation and ReLU."""
    for filters, kernel_size, *options in convolutions:
        x = conv(x, filters, kernel_size, use_bias=False, **(options[0] if options else {}))
        x = relu(BatchNormalization(momentum=0.9, epsilon=1e-3, scale=False)(x))
    return x


def average(x: Tensor) -> Tensor:
    return layers.AveragePooling2D(3, strides=1, padding="same")(x)


NETWORKS = (Architecture("inception_v3", inception_v3, PAPER, (299, 299, 3), smallest=75, normalised=True),)
