"""How bytes become numbers: each scaling is its publisher's, and every network can have each."""

import keras
import numpy as np
import pytest

from models.errors import UserError
from models.networks.registry import ARCHITECTURES, build
from models.networks.scaling import SCALINGS
from models.networks.summary import outline

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


def scaled(name: str, images: np.ndarray = IMAGES) -> np.ndarray:
    network = build("lenet5", input_shape=images.shape[1:], num_classes=2, scaling=name)
    return np.asarray(network.get_layer("rescale")(images))


@pytest.mark.parametrize(("name", "mode"), [("signed", "tf"), ("imagenet", "torch"), ("caffe", "caffe")])
def test_a_scaling_is_that_of_keras_applications_and_only_the_order_of_colours_is_not(name: str, mode: str) -> None:
    expected = keras.applications.imagenet_utils.preprocess_input(IMAGES.astype(np.float32), mode=mode)
    expected = expected[..., ::-1] if mode == "caffe" else expected
    np.testing.assert_allclose(scaled(name), expected, rtol=1e-5, atol=1e-5)


def test_the_unit_scaling_maps_bytes_to_zero_and_one() -> None:
    np.testing.assert_allclose(scaled("unit", np.full((1, 32, 32, 1), 255, np.uint8)), 1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_takes_a_scaling(name: str) -> None:
    """By the layer through which all of its pixels go."""
    network = outline(name, input_shape=(*ARCHITECTURES[name].input_shape[:2], 3), scaling="imagenet")
    np.testing.assert_allclose(network.get_layer("rescale").scale, SCALINGS["imagenet"][0], rtol=1e-6)


def test_another_scaling_gives_other_answers() -> None:
    network = build("lenet5", input_shape=(32, 32, 3), num_classes=2)
    other = build("lenet5", input_shape=(32, 32, 3), num_classes=2, scaling="imagenet")
    other.set_weights(network.get_weights())
    scale, offset = (np.array(numbers, np.float32) for numbers in SCALINGS["imagenet"])
    signed = keras.Model(network.get_layer("rescale").output, network.output)
    found = np.asarray(other(IMAGES, training=False))
    np.testing.assert_allclose(found, signed(IMAGES * scale + offset, training=False), rtol=1e-4, atol=1e-5)
    assert np.abs(found - np.asarray(network(IMAGES, training=False))).max() > 1e-2


@pytest.mark.parametrize("name", ["imagenet", "caffe"])
def test_weights_for_three_colours_are_refused_for_one_channel_in_a_sentence(name: str) -> None:
    with pytest.raises(UserError, match=f"scaling {name}, which is for three channels, and the images have 1"):
        build("lenet5", input_shape=(32, 32, 1), num_classes=2, scaling=name)


def test_an_unknown_scaling_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(UserError, match="'vgg'; choose from signed, unit, imagenet, caffe"):
        build("lenet5", input_shape=(32, 32, 1), num_classes=2, scaling="vgg")
