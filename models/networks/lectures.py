"""The networks of introductory lectures, so that a student's slides run.

At 32x32x3 and 10 classes: basic_cnn 22,058 parameters, vgg_like 288,298, residual_net 301,194 trained; sequential_cnn
264,884 at 64x64x3. All have biases in every convolution.

basic_cnn, vgg_like and residual_net are those of a tutorial (https://github.com/lgraesser/CNN-Tutorial), which
reports 63, 77 and 82 % on CIFAR-10 after 30 epochs.
"""

import keras
from keras import layers

from models.networks.architecture import Architecture, Paper
from models.networks.layers import Tensor, batch_norm, conv, linear, relu, scaled_images

TUTORIAL = Paper("Graesser", 2018, "https://github.com/lgraesser/CNN-Tutorial")
LECTURE = Paper("introductory lectures")


def basic_cnn(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.3) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). Dropout as in the lecture."""
    images, x = scaled_images(input_shape)
    x = relu(conv(x, 16, 5, strides=2, padding=0))  # 32 -> 14
    x = relu(conv(x, 32, 5, strides=2, padding=0))  # 14 -> 5
    x = layers.SpatialDropout2D(dropout)(x)
    return keras.Model(images, linear(layers.Flatten()(x), num_classes), name="basic_cnn")


def sequential_cnn(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.0) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). The lecture has no dropout."""
    images, x = scaled_images(input_shape)
    for filters in (5, 8):
        x = relu(conv(x, filters, 3))
        x = relu(conv(x, filters, 3))
        x = layers.MaxPooling2D(2)(x)  # 64 -> 32 -> 16
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu", kernel_initializer="he_normal")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(images, linear(x, num_classes), name="sequential_cnn")


def vgg_like(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.3) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). Dropout as in the lecture."""
    images, x = scaled_images(input_shape)
    for filters, pooled in ((32, True), (64, True), (128, False)):
        x = relu(conv(x, filters, 3, padding=0))
        x = relu(conv(x, filters, 3, padding=0))
        if pooled:
            x = layers.MaxPooling2D(2)(x)  # 28 -> 14, 10 -> 5
        x = layers.SpatialDropout2D(dropout)(x)
    return keras.Model(images, linear(layers.Flatten()(x), num_classes), name="vgg_like")


def residual_net(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.3) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). Dropout as in the lecture."""
    images, x = scaled_images(input_shape)
    x = relu(biased_conv_bn(x, 32, 5, strides=2, padding=0))  # 32 -> 14
    x = layers.Dropout(dropout)(x)
    for filters in (32, 64):
        x = layers.Dropout(dropout)(residual_block(x, filters))
        x = residual_block(x, filters)
        x = relu(biased_conv_bn(x, 2 * filters, 3, strides=2))  # 14 -> 7 -> 4
        x = layers.Dropout(dropout)(x)
    return keras.Model(images, linear(layers.Flatten()(x), num_classes), name="residual_net")


def residual_block(x: Tensor, filters: int) -> Tensor:
    y = relu(biased_conv_bn(x, filters, 3))
    y = biased_conv_bn(y, filters, 3)
    return relu(layers.Add()([x, y]))


def biased_conv_bn(
    x: Tensor, filters: int, kernel_size: int, *, strides: int = 1, padding: int | None = None
) -> Tensor:
    """As the lecture has it: the bias does nothing here, since batch normalisation takes the mean away."""
    return batch_norm(conv(x, filters, kernel_size, strides=strides, padding=padding))


NETWORKS = (
    Architecture("basic_cnn", basic_cnn, TUTORIAL, (32, 32, 3), 10, smallest=13),
    Architecture("sequential_cnn", sequential_cnn, LECTURE, (64, 64, 3), 10, smallest=4),
    Architecture("vgg_like", vgg_like, TUTORIAL, (32, 32, 3), 10, smallest=32),
    Architecture("residual_net", residual_net, TUTORIAL, (32, 32, 3), 10, smallest=5, normalised=True),
)
