"""The layers that Keras does not have, and the padding that it has otherwise."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.networks.layers import LocalResponseNormalization, conv
from models.networks.resnet import PadChannels


def test_local_response_normalization_is_the_papers_formula_for_pixels_in_one_instead_of_127() -> None:
    x = np.random.default_rng(0).normal(scale=30, size=(2, 3, 4, 7)).astype(np.float32)
    expected = tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75)
    np.testing.assert_allclose(LocalResponseNormalization()(x / 127.5), expected / 127.5, rtol=1e-5)


def test_a_channel_at_the_border_has_fewer_neighbours() -> None:
    x = np.array([1, 10, 100, 1000, 0, 0], np.float32).reshape(1, 1, 1, 6)
    squares = 1 + 100 + 10_000  # of the first channel and the two above it
    y = np.asarray(LocalResponseNormalization(alpha=1e-4)(x))
    np.testing.assert_allclose(y[0, 0, 0, 0], 1 / (2 + 1e-4 * squares) ** 0.75, rtol=1e-6)


@pytest.mark.parametrize(("side", "strides", "padding", "expected"), [(224, 2, None, 112), (7, 2, 1, 4), (9, 1, 0, 7)])
def test_a_convolution_pads_alike_on_all_sides(side: int, strides: int, padding: int | None, expected: int) -> None:
    images = keras.Input((side, side, 1))
    model = keras.Model(images, conv(images, 1, 3, strides=strides, padding=padding))
    assert model.output_shape[1:3] == (expected, expected)
    model.layers[-1].set_weights([np.ones((3, 3, 1, 1)), np.zeros(1)])
    sums = np.asarray(model(np.ones((1, side, side, 1), np.float32)))[0, :, :, 0]
    assert sums[0, 0] == (4 if padding != 0 else 9)


def test_new_channels_are_zeros_behind_the_old() -> None:
    y = np.asarray(PadChannels(5)(np.ones((1, 2, 2, 3), np.float32)))
    assert y[0, 0, 0].tolist() == [1, 1, 1, 0, 0]
