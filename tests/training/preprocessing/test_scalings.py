"""Scalings: each is what the library of its name does, and the channels stand in the order that goes with it."""

import keras
import numpy as np
import pytest

from models.errors import UserError
from training.preprocessing.scalings import PIXEL_SCALINGS, USUAL, pixel_scaling, scalings_for

PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3) * 2


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("caffe", keras.applications.resnet.preprocess_input),
        ("imagenet", keras.applications.densenet.preprocess_input),
        ("signed", keras.applications.mobilenet_v2.preprocess_input),
        ("none", keras.applications.efficientnet.preprocess_input),
        ("unit", keras.layers.Rescaling(1 / 255)),
    ],
)
def test_a_scaling_is_what_others_call_so(name: str, theirs: object) -> None:
    np.testing.assert_allclose(pixel_scaling(name, 3)(PIXELS), theirs(PIXELS.copy()), atol=1e-4)  # type: ignore[operator]


def test_every_scaling_is_there_with_the_channels_in_both_orders() -> None:
    assert USUAL == ("none", "signed", "unit", "imagenet", "caffe")
    np.testing.assert_array_equal(pixel_scaling("unit-bgr", 3)(PIXELS), pixel_scaling("unit", 3)(PIXELS)[..., ::-1])
    np.testing.assert_array_equal(pixel_scaling("caffe-rgb", 3)(PIXELS), pixel_scaling("caffe", 3)(PIXELS)[..., ::-1])
    assert len(PIXEL_SCALINGS) == 2 * len(USUAL)


def test_images_of_one_channel_have_neither_an_order_nor_a_mean_by_channel() -> None:
    assert scalings_for(1) == ["none", "signed", "unit"]
    with pytest.raises(UserError, match=r"imagenet is for three channels, and the network takes 1: .* none, signed"):
        pixel_scaling("imagenet", 1)
    with pytest.raises(UserError, match="No scaling is called 'zero'; choose from none"):
        pixel_scaling("zero", 3)
