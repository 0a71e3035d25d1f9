"""What suits the images of a folder: found out from a few of their headers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images import encode, noise, write_folder
from training.data.index import index_folder
from training.data.sample import sample_images

GREY = encode(noise(20, 30))


def sample_of(tmp_path: Path, *images: bytes) -> tuple[int, bool]:
    root = write_folder(tmp_path, {"cat": images, "dog": [GREY]})
    return sample_images(root, index_folder(root).paths)


def test_the_side_is_the_median_of_the_shorter_sides(tmp_path: Path) -> None:
    assert sample_of(tmp_path, encode(noise(100, 50)), encode(noise(40, 400)))[0] == 40


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(noise(20, 20)),
        Image.new("1", (20, 20)),
        Image.new("LA", (20, 20)),
        Image.fromarray(np.zeros((20, 20), np.uint16)),
        Image.fromarray(np.zeros((20, 20), ">u2")),
    ],
    ids=["L", "1", "LA", "I;16", "I;16B"],
)
def test_grey_images_are_known_as_grey(tmp_path: Path, image: Image.Image) -> None:
    assert sample_of(tmp_path, encode(image, "TIFF" if image.mode == "I;16B" else "PNG"))[1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_one_image_with_colour_is_enough_for_three_channels(tmp_path: Path, mode: str) -> None:
    assert not sample_of(tmp_path, encode(Image.new(mode, (20, 20)), "TIFF"))[1]


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    assert sample_of(tmp_path, b"text", b"") == (20, True)


def test_of_a_large_folder_a_few_hundred_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, image_open = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, **options: opened.append(path) or image_open(path, **options))
    write_folder(tmp_path, {"bird": [GREY] * 1000})
    sample_of(tmp_path)
    assert 100 <= len(opened) <= 400
