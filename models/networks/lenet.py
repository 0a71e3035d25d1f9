"""LeNet-5 (LeCun et al., 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf): as built today, and as it was.

At 32x32x1 and 10 classes: lenet5 has 61,706 trained parameters; lenet5_1998 has the paper's 60,000 up to F6, and 850 in
its output. The layers carry the paper's names, C1 to F6.

Departures of lenet5: ReLU for scaled tanh and max-pooling for trainable subsampling, C3 sees every
map of S2 instead of the sparse Table 1, and a linear layer with softmax for the RBF output.
Departures of lenet5_1998: a linear layer with softmax for the RBF output, whose targets are drawings of the ten digits;
images in [-1, 1], where the paper has -0.1 for background and 1.175 for ink; subsampling begins as the mean of four
pixels, where the paper adds them.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from models.networks.architecture import Architecture, Paper
from models.networks.layers import Tensor, linear

PAPER = Paper("LeCun et al.", 1998, "http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf")
Activation = Callable[[Tensor], Tensor]
SIDE = 32  # pixels; the paper pads its 28x28 digits with background to this


def lenet5(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.0) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). The paper has no dropout."""
    options = {"activation": "relu", "kernel_initializer": "he_normal"}
    images, x = padded_images(input_shape)
    x = layers.Conv2D(6, 5, **options, name="c1")(x)  # (B, 28, 28, 6)
    x = layers.MaxPooling2D(2, name="s2")(x)  # (B, 14, 14, 6)
    x = layers.Conv2D(16, 5, **options, name="c3")(x)  # (B, 10, 10, 16)
    x = layers.MaxPooling2D(2, name="s4")(x)  # (B, 5, 5, 16)
    x = layers.Flatten()(x)
    x = layers.Dense(120, **options, name="c5")(x)  # a 5x5 convolution over 5x5 maps is dense
    x = layers.Dense(84, **options, name="f6")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(images, linear(x, num_classes), name="lenet5")


def lenet5_1998(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.0) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). The paper has no dropout."""
    images, x = padded_images(input_shape)
    channels = input_shape[-1]
    x = layers.Conv2D(6, 5, activation=scaled_tanh, kernel_initializer=uniform(25 * channels), name="c1")(x)  # 156
    x = Subsampling(activation=scaled_tanh, name="s2")(x)  # 12 parameters
    x = SparseConv2D(TABLE_1, 5, activation=scaled_tanh, name="c3")(x)  # 1,516
    x = Subsampling(activation=scaled_tanh, name="s4")(x)  # 32
    x = layers.Flatten()(x)
    x = layers.Dense(120, activation=scaled_tanh, kernel_initializer=uniform(x.shape[-1]), name="c5")(x)  # 48,120
    x = layers.Dense(84, activation=scaled_tanh, kernel_initializer=uniform(120), name="f6")(x)  # 10,164
    x = layers.Dropout(dropout)(x)
    return keras.Model(images, linear(x, num_classes), name="lenet5_1998")


def padded_images(input_shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The input, and the same in [-1, 1]; up to 32x32 centred on black, as the paper centres digits on background."""
    images = x = keras.Input(input_shape, dtype="uint8", name="images")
    missing = [max(0, SIDE - side) for side in input_shape[:2]]
    if any(missing):
        x = layers.ZeroPadding2D(tuple((m // 2, m - m // 2) for m in missing), name="pad")(x)
    return images, layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(x)


def scaled_tanh(x: Tensor) -> Tensor:
    """Appendix A: A tanh(S x) with A = 1.7159 and S = 2/3, which keeps 1 at 1 and -1 at -1."""
    return 1.7159 * ops.tanh(2 / 3 * x)


def uniform(fan_in: int) -> keras.initializers.Initializer:
    """Appendix A: between -2.4 and 2.4 over the number of inputs."""
    return keras.initializers.RandomUniform(-2.4 / fan_in, 2.4 / fan_in)


TABLE_1 = (  # for each map of C3, the maps of S2 that it sees
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class Subsampling(layers.Layer):
    """Section II.B: the mean of each 2x2 square, times a coefficient of its map, plus a bias, both trained.

    (B, H, W, C) -> (B, H // 2, W // 2, C).
    """

    pool_size = strides = (2, 2)
    padding = "valid"

    def __init__(self, *, activation: Activation, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activation

    def build(self, input_shape: tuple[int, ...]) -> None:
        channels = (input_shape[-1],)
        self.coefficient = self.add_weight(name="coefficient", shape=channels, initializer="ones")
        self.bias = self.add_weight(name="bias", shape=channels, initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        x = ops.average_pool(x, self.pool_size, self.strides, self.padding)
        return self.activation(x * self.coefficient + self.bias)


class SparseConv2D(layers.Layer):
    """A convolution whose filters see some of the channels only, with a weight for each connection and no other.

    (B, H, W, C) -> (B, H - kernel_size + 1, W - kernel_size + 1, len(table)).

    Args:
        table: for each filter, the channels that it sees.
    """

    strides = (1, 1)
    padding = "valid"

    def __init__(
        self, table: tuple[tuple[int, ...], ...], kernel_size: int, *, activation: Activation, **options: Any
    ) -> None:
        super().__init__(**options)
        self.table, self.kernel_size, self.activation = table, kernel_size, activation

    def build(self, input_shape: tuple[int, ...]) -> None:
        channels = input_shape[-1]
        self.connections = [(channel, i) for i, seen in enumerate(self.table) for channel in seen]
        fans = [self.kernel_size**2 * len(self.table[i]) for _, i in self.connections]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, len(self.connections)),
            initializer=lambda shape, dtype: uniform(1)(shape, dtype) / ops.convert_to_tensor(fans, dtype),
        )
        self.bias = self.add_weight(name="bias", shape=(len(self.table),), initializer="zeros")
        places = np.zeros((len(self.connections), channels, len(self.table)), np.float32)
        for connection, (channel, i) in enumerate(self.connections):
            places[connection, channel, i] = 1
        self._places = places

    def call(self, x: Tensor) -> Tensor:
        places = ops.convert_to_tensor(self._places, self.kernel.dtype)
        kernel = ops.tensordot(self.kernel, places, axes=1)  # (k, k, C, filters), zero where nothing connects
        x = ops.conv(x, ops.cast(kernel, x.dtype), self.strides, self.padding)
        return self.activation(x + ops.cast(self.bias, x.dtype))


NETWORKS = (
    Architecture("lenet5", lenet5, PAPER, (SIDE, SIDE, 1), 10, learning_rate=0.05),
    Architecture("lenet5_1998", lenet5_1998, PAPER, (SIDE, SIDE, 1), 10),
)
