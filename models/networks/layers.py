"""What the papers share: tensors in, tensors out, and a layer that Keras does not have."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
from keras import layers, ops

from models.networks.batch_norm import BatchNormalization

Tensor: TypeAlias = keras.KerasTensor
LARGEST_SMALL_IMAGE = 64  # pixels of the shorter side


def scaled_images(input_shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The input, uint8 (B, H, W, C), and the same in [-1, 1]: scaling is a layer, so that nobody does it twice.

    The papers subtract the mean of their images instead, which other images would not have. `registry.build` gives the
    layer the scaling of weights that were trained with another one.
    """
    images = keras.Input(input_shape, dtype="uint8", name="images")
    return images, layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(images)


def is_small(input_shape: tuple[int, int, int]) -> bool:
    """Whether a stem that quarters an image, or pooling that halves it five times, would leave too little of it."""
    return min(input_shape[:2]) <= LARGEST_SMALL_IMAGE


def conv(
    x: Tensor,
    filters: int,
    kernel_size: int | tuple[int, int],
    *,
    strides: int = 1,
    padding: int | None = None,
    name: str | None = None,
    **options: Any,
) -> Tensor:
    """Convolution with the same padding on all sides, by default half the kernel.

    Weights are drawn as He et al. (2015) do. At stride 2 Keras's own "same" is lopsided, and so no paper's.
    """
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    margins = (height // 2, width // 2) if padding is None else (padding, padding)
    same = strides == 1 and margins == ((height - 1) / 2, (width - 1) / 2)
    if margins != (0, 0) and not same:
        x = layers.ZeroPadding2D(margins, name=of(name, "pad"))(x)
    options = {"kernel_initializer": "he_normal", **options}
    padded = "same" if same else "valid"
    return layers.Conv2D(filters, kernel_size, strides=strides, padding=padded, name=name, **options)(x)


def of(name: str | None, part: str) -> str | None:
    """conv1_bn, the part `bn` of conv1; None where that has no name of its own."""
    return None if name is None else f"{name}_{part}"


def conv_bn(
    x: Tensor, filters: int, kernel_size: int | tuple[int, int], *, strides: int = 1, name: str | None = None
) -> Tensor:
    """Convolution, then batch normalisation, which makes a bias pointless."""
    return batch_norm(conv(x, filters, kernel_size, strides=strides, use_bias=False, name=name), of(name, "bn"))


def batch_norm(x: Tensor, name: str | None = None) -> Tensor:
    """Batch normalisation (Ioffe and Szegedy, 2015) with the constants of its use in vision; Keras has .99 and 1e-3."""
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def relu(x: Tensor, name: str | None = None) -> Tensor:
    return layers.ReLU(name=name)(x)


def dense_layers(x: Tensor, num_hidden: int, dropout: float) -> Tensor:
    """Feature maps -> features, by hidden layers of 4096 with dropout after each, as AlexNet and VGG have two.

    They are called fc6 and fc7, since AlexNet has five layers before them, and others count VGG's stages in that way.
    """
    x = layers.Flatten()(x)
    for number in range(6, 6 + num_hidden):
        x = layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name=f"fc{number}")(x)
        x = layers.Dropout(dropout, name=f"fc{number}_dropout")(x)
    return x if num_hidden else layers.Dropout(dropout)(x)


def pooled(maps: Sequence[Tensor]) -> Tensor:
    """The means of several feature maps (B, h, w, c), side by side: (B, sum of the c)."""
    return layers.Concatenate(name="pooled")([layers.GlobalAveragePooling2D()(x) for x in maps])


def linear(x: Tensor, num_classes: int) -> Tensor:
    """The last layer: features (B, F) -> float32 logits (B, num_classes), whatever precision the rest computes in."""
    return layers.Dense(num_classes, dtype="float32", name="logits")(x)


class LocalResponseNormalization(layers.Layer):
    """Section 3.3 of Krizhevsky et al. (2012): each channel divided by the strength of its neighbours.

    (B, H, W, C) -> (B, H, W, C): x_i / (k + alpha * sum of x_j^2 over the n channels around i)^beta, with the
    paper's constants: its alpha of 1e-4 is for pixels within ±127.5, ours for the same pixels within ±1. Caffe divides
    alpha by n, and so do those who copied it; the paper does not.
    """

    def __init__(
        self, k: float = 2.0, n: int = 5, alpha: float = 1e-4 * 127.5**2, beta: float = 0.75, **options: object
    ) -> None:
        super().__init__(**options)
        self.k, self.n, self.alpha, self.beta = k, n, alpha, beta

    def call(self, x: Tensor) -> Tensor:
        margin = self.n // 2
        squares = ops.pad(ops.square(ops.cast(x, "float32")), ((0, 0), (0, 0), (0, 0), (margin, margin)))
        around = sum(squares[..., j : j + x.shape[-1]] for j in range(self.n))
        return x / ops.cast(ops.power(self.k + self.alpha * around, self.beta), x.dtype)
