"""The same picture is found again, however it was stored; what only looks alike is not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from tests.images import encode, smooth
from training.duplicates import LARGEST_GROUP, THUMBNAIL, group_duplicates, near, near_duplicates, perceptual_hashes

COUNT = 40
CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "a JPEG of low quality": lambda image: encode(image, "JPEG", quality=40),
    "scaled down": lambda image: encode(image.resize((60, 50))),
    "paler": lambda image: encode(image.point(lambda value: int(0.85 * value + 25))),
    "grey": lambda image: encode(image.convert("L")),
}


def pictures(count: int = COUNT) -> list[Image.Image]:
    return [Image.fromarray(smooth(80, 100, seed=seed)) for seed in range(count)]


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    size = (THUMBNAIL, THUMBNAIL)
    return np.stack([np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR)) for image in images])


def groups_of(images: list[Image.Image]) -> list[int]:
    return group_duplicates(np.arange(len(images), dtype=np.uint64), thumbnails(images)).tolist()


def test_different_pictures_are_alone() -> None:
    assert groups_of(pictures()) == list(range(COUNT))


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_was_changed_a_little_is_found(change: str) -> None:
    copies = [Image.open(io.BytesIO(CHANGES[change](image))).convert("RGB") for image in pictures()]
    found = groups_of([*pictures(), *copies])
    assert found[:COUNT] == list(range(COUNT))
    assert np.mean(np.array(found[COUNT:]) == np.arange(COUNT)) >= 0.9


def test_equal_pixels_are_one_group_even_where_a_picture_shows_nothing() -> None:
    flat = np.zeros((4, THUMBNAIL, THUMBNAIL), np.uint8)
    assert group_duplicates(np.array([7, 3, 7, 9], np.uint64), flat).tolist() == [0, 1, 0, 3]


def test_many_copies_of_one_file_stay_together() -> None:
    pixels = np.array([5, 6] * 5 * LARGEST_GROUP, np.uint64)
    groups = group_duplicates(pixels, np.zeros((len(pixels), THUMBNAIL, THUMBNAIL), np.uint8))
    assert groups.tolist() == [0, 1] * 5 * LARGEST_GROUP


def test_a_look_that_very_many_share_makes_no_duplicates() -> None:
    """Scans of one form, say: in one group they would all be on one side of the split."""
    rng = np.random.default_rng(0)
    alike = thumbnails(pictures(1)).astype(int) + rng.integers(-3, 4, (LARGEST_GROUP + 5, THUMBNAIL, THUMBNAIL))
    alike = np.clip(alike, 0, 255).astype(np.uint8)
    count = len(alike)
    assert group_duplicates(np.arange(count, dtype=np.uint64), alike).tolist() == list(range(count))
    few = alike[: LARGEST_GROUP // 2]
    assert group_duplicates(np.arange(len(few), dtype=np.uint64), few).tolist() == [0] * len(few)


def test_there_are_no_chains() -> None:
    """Where each is near the next, only those that are near the first are of its group."""
    first, last = (thumbnails([image])[0].astype(float) for image in pictures(2))
    steps = np.stack([(1 - share) * first + share * last for share in np.linspace(0, 1, 12)]).astype(np.uint8)
    groups = group_duplicates(np.arange(12, dtype=np.uint64), steps)
    assert groups[1] == 0
    assert groups[11] != 0


def test_a_hash_changes_in_few_bits_with_noise_and_in_half_of_them_with_another_picture() -> None:
    clean = thumbnails(pictures())
    noisy = np.clip(clean + np.random.default_rng(0).integers(-2, 3, clean.shape), 0, 255).astype(np.uint8)
    assert bits_between(clean, noisy) < 20
    assert bits_between(clean, np.roll(clean, 1, axis=0)) == pytest.approx(128, abs=15)


def bits_between(first: np.ndarray, second: np.ndarray) -> float:
    """On average, of the 256."""
    return float(np.bitwise_count(perceptual_hashes(first) ^ perceptual_hashes(second)).sum(axis=1).mean())


def test_hashing_finds_what_comparing_all_pairs_finds() -> None:
    rng = np.random.default_rng(0)
    images = np.repeat(thumbnails(pictures(200)), 2, axis=0).astype(int)
    images = np.clip(images + rng.normal(size=images.shape) * rng.uniform(0, 12, (400, 1, 1)), 0, 255).astype(np.uint8)
    everyone = np.stack(np.triu_indices(len(images), 1), axis=1)
    expected = everyone[near(images, everyone)]
    assert 100 < len(expected) < 200
    assert len(near_duplicates(images)) >= 0.97 * len(expected)
