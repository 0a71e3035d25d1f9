"""How an image gets the size that a network takes."""

import io

import numpy as np
import pytest
from PIL import Image

from models.bundle.preprocessing import InputSpec, Resize, crop, decode_image, draft
from tests.images import encode, encode_turned, png, smooth

RESIZES: tuple[Resize, ...] = ("squash", "crop", "pad")
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def flag(width: int = 40, height: int = 20) -> np.ndarray:
    """Three upright stripes: a quarter red, half green, a quarter blue."""
    stripes = np.zeros((height, width, 3), np.uint8)
    stripes[:, : width // 4], stripes[:, width // 4 : -width // 4], stripes[:, -width // 4 :] = RED, GREEN, BLUE
    return stripes


@pytest.mark.parametrize("resize", RESIZES)
def test_an_image_of_the_right_size_is_left_alone(resize: Resize) -> None:
    np.testing.assert_array_equal(decode_image(encode(flag()), InputSpec(20, 40, 3, resize)), flag())


def test_squash_keeps_all_of_the_image() -> None:
    got = decode_image(encode(flag(80, 20)), InputSpec(20, 40, 3, "squash"))
    assert got[:, 2].tolist() == [list(RED)] * 20
    assert got[:, 20].tolist() == [list(GREEN)] * 20
    assert got[:, -3].tolist() == [list(BLUE)] * 20


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_crop_shows_the_centre_and_nothing_of_what_is_cut_off(scale: int) -> None:
    got = decode_image(encode(flag(40 * scale, 20 * scale)), InputSpec(20, 20, 3, "crop"))
    assert (got[:, 1:-1] == GREEN).all()  # the outermost column may blend with its neighbour, as any does


def test_crop_cuts_the_top_and_bottom_of_an_upright_image() -> None:
    upright = np.ascontiguousarray(flag().transpose(1, 0, 2))
    assert (decode_image(encode(upright), InputSpec(20, 20, 3, "crop")) == GREEN).all()


def test_pad_centres_the_whole_image_on_black() -> None:
    got = decode_image(encode(flag()), InputSpec(40, 40, 3, "pad"))
    np.testing.assert_array_equal(got[10:30], flag())
    assert not got[:10].any()
    assert not got[30:].any()


def test_pad_scales_the_longer_side() -> None:
    got = decode_image(encode(flag(400, 200)), InputSpec(40, 40, 3, "pad"))
    assert got[20, 2].tolist() == list(RED)
    assert got[20, 37].tolist() == list(BLUE)
    assert not got[[0, 9, 30, 39]].any()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(
    "size",
    [(1, 1), (1, 20000), (20000, 1), (3, 1000), (1000, 3), (2_000_000, 1)],
    ids=lambda size: f"{size[0]}x{size[1]}",
)
def test_no_shape_is_too_odd(size: tuple[int, int], resize: Resize) -> None:
    width, height = size
    data = png(width, height, (b"\0" + b"\x50" * width) * height)
    got = decode_image(data, InputSpec(32, 48, 1, resize))
    assert got.shape == (32, 48, 1)
    assert set(np.unique(got)) <= ({0, 80} if resize == "pad" else {80})
    assert got.max() == 80


@pytest.mark.parametrize("side", [28, 32, 224])
def test_crop_takes_images_of_every_size(side: int) -> None:
    """Rounding once put the box of a 29x40 image a hair outside it, and the image was called damaged."""
    spec, refused = InputSpec(side, side, 1), []
    for shorter in range(1, 500):
        try:
            crop(Image.new("L", (shorter, shorter + 11)), spec)
        except ValueError:
            refused.append(shorter)
    assert refused == []


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photograph_decoded_at_a_fraction_looks_like_itself(orientation: int) -> None:
    photograph = smooth(3000, 4000)
    spec = InputSpec(224, 224, 3, "crop")
    full = np.asarray(crop(Image.fromarray(photograph), spec), np.int16)
    got = decode_image(encode_turned(photograph, orientation, "JPEG", quality=95), spec)
    assert np.abs(got - full).mean() < 2


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(100, 100), (100, 150), (150, 100), (500, 300), (2000, 10)])
def test_a_fraction_is_never_below_twice_the_size_wanted(size: tuple[int, int], orientation: int) -> None:
    height, width = size
    image = Image.open(io.BytesIO(encode(smooth(600, 1000), "JPEG")))
    draft(image, InputSpec(height, width, 3), orientation)
    wanted = (2 * height, 2 * width) if orientation >= 5 else (2 * width, 2 * height)
    assert image.width >= min(1000, wanted[0])
    assert image.height >= min(600, wanted[1])


def test_a_large_jpeg_is_decoded_at_a_fraction() -> None:
    image = Image.open(io.BytesIO(encode(smooth(600, 1000), "JPEG")))
    draft(image, InputSpec(32, 32, 3), 1)
    assert image.size == (125, 75)


@pytest.mark.parametrize(
    ("height", "width", "channels", "resize"),
    [(0, 8, 3, "crop"), (8, 0, 3, "crop"), (8, 8, 4, "crop"), (8, 8, 0, "crop"), (8, 8, 3, "stretch")],
)
def test_an_input_that_cannot_be_is_refused(height: int, width: int, channels: int, resize: Resize) -> None:
    with pytest.raises(ValueError, match="channels 1 or 3, resize one of squash, crop, pad"):
        InputSpec(height, width, channels, resize)
