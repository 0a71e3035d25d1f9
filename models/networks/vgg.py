"""VGG (Simonyan and Zisserman, 2014, https://arxiv.org/abs/1409.1556); CONFIGURATIONS is its Table 1.

Trained parameters at 224x224x3 and 1000 classes: A and A-LRN 132,863,336; B 133,047,848; C 133,638,952; D 138,357,544;
E 143,667,240. A, D and E go by their depths: vgg11, vgg16, vgg19; `vgg_a`, `vgg_d` and `vgg_e` mean the same.
With `_bn`, batch normalisation follows each convolution (Ioffe and Szegedy, 2015): no part of the paper, but what makes
the deep ones easy to train. The bias stays, as in the definitions that others compare with.

Departures: weights are drawn as He et al. (2015) do, so that the deep ones need not start from a trained A; images of
up to 64 pixels get one dense layer, since what 224x224 leaves for the paper's three, 7x7x512, is 1x1x512 at 32x32; the
paper's mean colour is not subtracted, since the input is scaled to [-1, 1].
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

PAPER = Paper("Simonyan and Zisserman", 2014, "https://arxiv.org/abs/1409.1556")
AFTER_PAPER = replace(PAPER, authors="after Simonyan and Zisserman")
FILTERS = (64, 128, 256, 512, 512)  # of each stage; max-pooling halves after each
LRN = 0  # among kernel sizes: local response normalisation
CONFIGURATIONS: dict[str, tuple[tuple[int, ...], ...]] = {  # kernel sizes of each stage's convolutions
    "vgg11": ((3,), (3,), (3, 3), (3, 3), (3, 3)),  # A
    "vgg_a_lrn": ((3, LRN), (3,), (3, 3), (3, 3), (3, 3)),  # A-LRN
    "vgg_b": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),  # B
    "vgg_c": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),  # C
    "vgg16": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),  # D
    "vgg19": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),  # E
}


def vgg(
    configuration: str, *, normalised: bool, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.5
) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). `normalised`: with batch normalisation."""
    images, x = scaled_images(input_shape)
    for stage, (filters, kernel_sizes) in enumerate(zip(FILTERS, CONFIGURATIONS[configuration], strict=True), start=1):
        for i, kernel_size in enumerate(kernel_sizes, start=1):
            name = f"conv{stage}_{i}"  # conv3-256 of stage 3 is conv3_1, conv3_2, ...
            if kernel_size == LRN:
                x = LocalResponseNormalization(name=f"lrn{stage}")(x)
            else:
                x = conv(x, filters, kernel_size, name=name)
                x = relu(batch_norm(x, f"{name}_bn") if normalised else x, f"{name}_relu")
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    num_hidden = 0 if is_small(input_shape) else 2
    x = dense_layers(x, num_hidden, dropout)  # from 25,088 features at 224x224
    return keras.Model(images, linear(x, num_classes), name=configuration + "_bn" * normalised)


ALIASES = {"vgg11": ("vgg_a",), "vgg_b": ("vgg13",), "vgg16": ("vgg_d",), "vgg19": ("vgg_e",)}
NETWORKS = tuple(
    Architecture(
        name + suffix,
        partial(vgg, name, normalised=bool(suffix)),
        AFTER_PAPER if suffix else PAPER,
        smallest=32,
        normalised=bool(suffix),
        aliases=tuple(alias + suffix for alias in ALIASES.get(name, ())),
    )
    for suffix in ("", "_bn")
    for name in CONFIGURATIONS
)
