"""The network of airbench94 (Jordan, 2024, https://arxiv.org/abs/2404.00498): 94 % on CIFAR-10 in ten epochs.

1,971,640 trained parameters at 32x32x3 and 10 classes. The first layer sees patches of 2x2 pixels; training sets it to
filters that make those of the training images uncorrelated, and never changes them (`training.network.whitening`). The
two middle dimensions of a 3x3 kernel start as the identity, so that images come through the untrained network.
`fast_cnn_relu` has ReLU for GELU, which costs a CPU in bfloat16 nearly as much as a convolution.
"""

import math
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from models.networks.architecture import Architecture, Paper
from models.networks.batch_norm import BatchNormalization
from models.networks.layers import Tensor, conv, scaled_images

AIRBENCH = Paper("Jordan", 2024, "https://arxiv.org/abs/2404.00498")
WHITENING = "whitening"
TEMPERATURE = 9


def fast_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    dropout: float = 0.0,
    activation: str = "gelu",
    name: str = "fast_cnn",
) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). The source has no dropout."""
    images, x = scaled_images(input_shape)
    num_filters = 2 * 2 * 2 * input_shape[-1]  # a patch has so many principal components, and each a negative
    x = layers.Conv2D(num_filters, 2, kernel_initializer="he_normal", name=WHITENING)(x)  # 32 -> 31
    x = layers.Activation(activation)(x)
    for filters in (64, 256, 256):
        x = layers.MaxPooling2D(2)(identity_conv(x, filters))  # 31 -> 15 -> 7 -> 3
        x = layers.Activation(activation)(shift_only_batch_norm(x))
        x = identity_conv(x, filters)
        x = layers.Activation(activation)(shift_only_batch_norm(x))
    x = layers.MaxPooling2D(3)(x)  # 3 -> 1
    x = layers.Dropout(dropout)(layers.Flatten()(x))
    x = layers.Dense(num_classes, use_bias=False, dtype="float32", kernel_initializer=FanIn(), name="head")(x)
    logits = layers.Rescaling(1 / TEMPERATURE, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name=name)


def identity_conv(x: Tensor, filters: int) -> Tensor:
    return conv(x, filters, 3, use_bias=False, kernel_initializer=FanIn(identity=True))


def shift_only_batch_norm(x: Tensor) -> Tensor:
    return BatchNormalization(momentum=0.6, epsilon=1e-12, scale=False)(x)


class FanIn(keras.initializers.Initializer):
    """Uniform within ± the square root of 1 / fan-in; with `identity` the first filters pass a channel each through."""

    def __init__(self, *, identity: bool = False) -> None:
        self.identity = identity

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        *patch, num_filters = shape
        bound = (1 / math.prod(patch)) ** 0.5
        drawn = keras.random.uniform(shape, -bound, bound, dtype=dtype)
        if not self.identity:
            return drawn
        num_passed = min(shape[-2:])
        passing = np.zeros(shape, np.float32)
        passing[shape[0] // 2, shape[1] // 2, range(num_passed), range(num_passed)] = 1
        return ops.where(np.arange(num_filters) < num_passed, ops.cast(passing, drawn.dtype), drawn)


NETWORKS = (
    Architecture("fast_cnn", fast_cnn, AIRBENCH, (32, 32, 3), 10, smallest=25, normalised=True),
    Architecture(
        "fast_cnn_relu",
        partial(fast_cnn, activation="relu", name="fast_cnn_relu"),
        AIRBENCH,
        (32, 32, 3),
        10,
        smallest=25,
        normalised=True,
    ),
)
