"""AlexNet: as it was (Krizhevsky et al., 2012), in one tower (Krizhevsky, 2014), and with batch normalisation.

Trained parameters at 224x224x3 and 1000 classes: alexnet_2012 60,965,224; alexnet 61,100,840.

alexnet_2012 is the network of https://papers.nips.cc/paper/4824: two towers, of whose convolutions only the third sees
both, local response normalisation, overlapping pooling, dropout of 0.5. alexnet is the one-tower network that others
know by that name: as in "One weird trick" (https://arxiv.org/abs/1404.5997), but with 256 filters in its fourth
convolution, where that has 384, and without local response normalisation. alexnet_bn is nobody's paper: batch
normalisation after each convolution, and up to 64 pixels a first convolution of 5x5 at stride 1, so that it suits
small images.

Departures: weights are drawn as He et al. (2015) do and biases are 0; the paper's 0.01 and 1 need its million images.
Normalisation sees the neighbours across the towers' border. The paper's mean image is not subtracted, since the input
is scaled to [-1, 1]; 224x224 is padded by 2, without which its 55x55 maps would need 227x227.
"""

from dataclasses import replace
from functools import partial

import keras
from keras import layers

from models.networks.architecture import Architecture, Paper
from models.networks.layers import (
    LocalResponseNormalization,
    batch_norm,
    conv,
    dense_layers,
    is_small,
    linear,
    relu,
    scaled_images,
)

PAPER_2012 = Paper("Krizhevsky et al.", 2012, "https://papers.nips.cc/paper/4824")
PAPER_2014 = Paper("Krizhevsky", 2014, "https://arxiv.org/abs/1404.5997")
AFTER_2014 = replace(PAPER_2014, authors="after Krizhevsky")

# (filters, kernel size, stride, padding on each side, towers, normalised and pooled afterwards)
CONVOLUTIONS_2012 = (
    (96, 11, 4, 2, 1, True),  # 224 -> 55 -> 27
    (256, 5, 1, 2, 2, True),  # 27 -> 13
    (384, 3, 1, 1, 1, False),  # the one that sees both towers
    (384, 3, 1, 1, 2, False),
    (256, 3, 1, 1, 2, False),  # pooled to 6, without normalisation
)
CONVOLUTIONS_2014 = (  # (filters, kernel size, stride, padding on each side, pooled afterwards)
    (64, 11, 4, 2, True),  # 224 -> 55 -> 27
    (192, 5, 1, 2, True),  # 27 -> 13
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),  # 13 -> 6
)
SMALL_STEM = (64, 5, 1, 2, True)  # 32 -> 32 -> 15


def alexnet_2012(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.5) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). Dropout as in the paper."""
    images, x = scaled_images(input_shape)
    for i, (filters, kernel_size, strides, padding, towers, normalised) in enumerate(CONVOLUTIONS_2012, start=1):
        x = conv(x, filters, kernel_size, strides=strides, padding=padding, groups=towers, name=f"conv{i}")
        x = relu(x, f"conv{i}_relu")
        if normalised:
            x = LocalResponseNormalization(name=f"lrn{i}")(x)
            x = layers.MaxPooling2D(3, strides=2, name=f"pool{i}")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool5")(x)
    return keras.Model(images, linear(dense_layers(x, 2, dropout), num_classes), name="alexnet_2012")


def alexnet(name: str, *, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.5) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes): `alexnet` or `alexnet_bn`."""
    normalised = name == "alexnet_bn"
    stem, *others = CONVOLUTIONS_2014
    if normalised and is_small(input_shape):
        stem = SMALL_STEM
    images, x = scaled_images(input_shape)
    for i, (filters, kernel_size, strides, padding, pooled) in enumerate((stem, *others), start=1):
        x = conv(x, filters, kernel_size, strides=strides, padding=padding, use_bias=not normalised, name=f"conv{i}")
        x = relu(batch_norm(x, f"conv{i}_bn") if normalised else x, f"conv{i}_relu")
        if pooled:
            x = layers.MaxPooling2D(3, strides=2, name=f"pool{i}")(x)
    return keras.Model(images, linear(dense_layers(x, 2, dropout), num_classes), name=name)


NETWORKS = (
    Architecture("alexnet_2012", alexnet_2012, PAPER_2012, smallest=63),
    Architecture("alexnet", partial(alexnet, "alexnet"), PAPER_2014, smallest=63),
    Architecture("alexnet_bn", partial(alexnet, "alexnet_bn"), AFTER_2014, smallest=15, normalised=True),
)
