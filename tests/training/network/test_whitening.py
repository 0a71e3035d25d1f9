"""What comes out of the whitening layer is uncorrelated, and training leaves the layer alone."""

from pathlib import Path

import numpy as np
import pytest

from models.networks.airbench import WHITENING
from models.networks.registry import build
from tests.training.decoded import decoded_images, halves_and_quarters
from training.config.settings import Settings
from training.fit.fit import fit
from training.fit.options import FitOptions
from training.network.whitening import whiten, whitening_filters

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_come_out_uncorrelated_with_variance_1_and_once_more_with_the_other_sign(channels: int) -> None:
    smooth = np.repeat(np.repeat(RNG.normal(0.3, 0.5, (200, 8, 8, channels)), 2, axis=1), 2, axis=2)
    kernel, bias = whitening_filters(smooth + RNG.normal(0, 0.2, smooth.shape))
    patches = np.lib.stride_tricks.sliding_window_view(smooth + RNG.normal(0, 0.2, smooth.shape), (2, 2), axis=(1, 2))
    found = np.einsum("nhwcij,ijcf->nhwf", patches, kernel) + bias
    half = 4 * channels
    assert kernel.shape == (2, 2, channels, 2 * half)
    np.testing.assert_allclose(found[..., half:], -found[..., :half], atol=1e-9)
    np.testing.assert_allclose(np.cov(found[..., :half].reshape(-1, half), rowvar=False), np.eye(half), atol=0.1)
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), 0, atol=0.05)


def test_training_leaves_the_layer_as_the_images_made_it(tmp_path: Path) -> None:
    labels = np.arange(64) % 2
    images = RNG.integers(0, 200, (64, 32, 32, 3), np.uint8) + (50 * labels[:, None, None, None]).astype(np.uint8)
    decoded = decoded_images(images, labels)
    split = halves_and_quarters(decoded)
    settings = Settings(
        "fast_cnn_relu", learning_rate=0.1, epochs=1, batch_size=16, bn_bias_lr_scale=64, decay_params="all"
    )
    trained = fit(decoded, split, settings, tmp_path, FitOptions())
    expected = build("fast_cnn_relu", input_shape=(32, 32, 3), num_classes=2)
    whiten(expected, decoded, split.train)
    for found, wanted in zip(*(m.get_layer(WHITENING).get_weights() for m in (trained.model, expected)), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_networks_without_the_layer_are_left_alone() -> None:
    network = build("lenet5", input_shape=(32, 32, 1), num_classes=2)
    before = network.get_weights()
    whiten(network, decoded_images(np.zeros((4, 32, 32, 1), np.uint8), np.arange(4) % 2), np.arange(4))
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
