"""The first layer of `models.networks.airbench`: filters that make patches of the training images uncorrelated.

The filters are the principal components of 2x2 patches, each divided by its standard deviation, and their negatives
(Jordan, 2024, https://arxiv.org/abs/2404.00498, section 3.2). They are not trained. The source trains the bias for
three epochs; here it subtracts the mean and is not trained either, which spares a step the layer's gradient.
"""

import keras
import numpy as np

from models.networks.airbench import WHITENING
from training.data.decoded import DecodedImages

NUM_PATCHES = 5_000_000  # of 5,000 images of 32x32, as in the source
SMALLEST_VARIANCE = 1e-4  # below it a component is noise; the source has 5e-4 on images of variance 1, ours have 1/4


def whiten(model: keras.Model, decoded: DecodedImages, rows: np.ndarray) -> None:
    """Set and freeze the whitening layer, where the network has one.

    Args:
        rows: of the training images.
    """
    layer = next((layer for layer in model.layers if layer.name == WHITENING), None)
    if layer is None:
        return
    height, width = decoded.images.shape[1:3]
    num_images = max(1, NUM_PATCHES // (height * width))
    chosen = np.sort(rows)[:: -(-len(rows) // num_images)]
    images = decoded.images[chosen].astype(np.float32) / 127.5 - 1  # as the network scales them
    kernel, bias = whitening_filters(images)
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)
    layer.trainable = False


def whitening_filters(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float (N, H, W, C) -> kernel (2, 2, C, 8C), bias (8C,): outputs have mean 0 and, but for noise, variance 1."""
    channels = images.shape[-1]
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))  # (N, H-1, W-1, C, 2, 2)
    vectors = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 4 * channels)
    variances, components = np.linalg.eigh(np.cov(vectors, rowvar=False))
    half = components / np.sqrt(variances + SMALLEST_VARIANCE)  # (4C, 4C), a column a filter
    filters = np.concatenate([half, -half], axis=1)
    return filters.reshape(2, 2, channels, -1), -vectors.mean(axis=0) @ filters
