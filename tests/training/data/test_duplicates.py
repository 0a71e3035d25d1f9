"""The same picture is found again, however it was stored; what only looks alike is not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from tests.images import encode, smooth
from training.data.duplicates import (
    LARGEST_GROUP,
    LEAST_CORRELATION,
    THUMBNAIL,
    correlations,
    group_duplicates,
    near_pairs,
    perceptual_hashes,
)

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


def groups_of(small: np.ndarray, *, num_others: int = 0) -> list[int]:
    """The groups of thumbnails of one class, which has so many other pictures, and exact copies of none."""
    everything = np.concatenate([small, np.random.default_rng(9).integers(0, 256, (num_others, *small.shape[1:]))])
    count = len(everything)
    groups, _ = group_duplicates(np.arange(count, dtype=np.uint64), everything.astype(np.uint8), np.zeros(count, int))
    assert (groups[len(small) :] == np.arange(len(small), count)).all(), "noise has near duplicates"
    return groups[: len(small)].tolist()


def noisy_copies(count: int, deviation: float, *, seed: int = 0) -> np.ndarray:
    """Thumbnails of one picture with noise; by 3, 8 and 12 they correlate by about 0.997, 0.98 and 0.96."""
    rng = np.random.default_rng(seed)
    picture = 128 + 55 * rng.normal(size=(THUMBNAIL, THUMBNAIL)).clip(-2, 2)
    return np.clip(picture + deviation * rng.normal(size=(count, THUMBNAIL, THUMBNAIL)), 0, 255).astype(np.uint8)


def test_different_pictures_are_alone() -> None:
    assert groups_of(thumbnails(pictures())) == list(range(COUNT))


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_was_changed_a_little_is_found(change: str) -> None:
    copies = [Image.open(io.BytesIO(CHANGES[change](image))).convert("RGB") for image in pictures()]
    found = groups_of(thumbnails([*pictures(), *copies]))
    assert found[:COUNT] == list(range(COUNT))
    assert np.mean(np.array(found[COUNT:]) == np.arange(COUNT)) >= 0.9


def test_equal_pixels_are_one_group_even_where_a_picture_shows_nothing() -> None:
    flat = np.zeros((4, THUMBNAIL, THUMBNAIL), np.uint8)
    groups, looks = group_duplicates(np.array([7, 3, 7, 9], np.uint64), flat, np.zeros(4, int))
    assert groups.tolist() == looks.tolist() == [0, 1, 0, 3]


def test_exact_copies_stay_together_however_many_they_are() -> None:
    pixels = np.array([5, 6] * 5 * LARGEST_GROUP, np.uint64)
    copies = np.tile(noisy_copies(2, 3), (5 * LARGEST_GROUP, 1, 1))
    groups, _ = group_duplicates(pixels, copies, np.zeros(len(pixels), int))
    assert set(groups.tolist()) == {0}


def test_near_copies_form_chains() -> None:
    """The first is near the second and that near the third, so that all three belong on one side."""
    first, last = noisy_copies(1, 0)[0].astype(float), noisy_copies(1, 0, seed=1)[0].astype(float)
    chain = np.stack([(1 - share) * first + share * last for share in (0.0, 0.15, 0.27)]).astype(np.uint8)
    pairs = correlations(chain, np.array([0, 1, 0]), np.array([1, 2, 2]))
    assert (pairs >= LEAST_CORRELATION).tolist() == [True, True, False]
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1]):
        assert groups_of(chain[order]) == [0, 0, 0]


@pytest.mark.parametrize(("count", "num_others"), [(21, 420), (200, 3800)])
def test_near_copies_are_one_group_up_to_a_twentieth_of_their_class(count: int, num_others: int) -> None:
    assert set(groups_of(noisy_copies(count, 3), num_others=num_others)) == {0}


def test_in_a_small_class_twenty_pictures_may_be_one_group() -> None:
    assert set(groups_of(noisy_copies(LARGEST_GROUP, 3))) == {0}


def test_a_group_that_is_too_large_is_cut_between_the_pictures_that_are_least_alike() -> None:
    """Each form is scanned twice: all scans look alike, and those of one form still more so."""
    forms = noisy_copies(60, 8)
    scans = np.clip(np.repeat(forms, 2, axis=0) + np.random.default_rng(1).normal(size=(120, 1, 1)), 0, 255)
    groups, looks = group_duplicates(np.arange(120, dtype=np.uint64), scans.astype(np.uint8), np.zeros(120, int))
    assert set(looks.tolist()) == {0}
    np.testing.assert_array_equal(groups, np.arange(120) // 2 * 2)


def test_the_largest_class_of_a_group_says_how_large_it_may_be() -> None:
    small = np.concatenate([noisy_copies(30, 3), np.random.default_rng(9).integers(0, 256, (600, 16, 16))])
    pixels = np.arange(630, dtype=np.uint64)
    of_two = np.array([0, 1] * 15 + [1] * 600)
    assert set(group_duplicates(pixels, small.astype(np.uint8), of_two)[0][:30].tolist()) == {0}
    of_a_small_one = np.array([0] * 30 + [1] * 600)
    assert len(set(group_duplicates(pixels, small.astype(np.uint8), of_a_small_one)[0][:30].tolist())) > 1


def test_where_everything_looks_alike_memory_holds_few_of_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    copies, rows = noisy_copies(300, 3), np.arange(300)
    everything = near_pairs(copies, rows)
    monkeypatch.setattr("training.data.duplicates.MAX_FOUND", 100)
    np.testing.assert_array_equal(np.sort(near_pairs(copies, rows)), np.sort(everything))
    assert len(everything) == 299, "one pair for each image but the first connects all"


def test_a_hash_changes_in_few_bits_with_noise_and_in_half_of_them_with_another_picture() -> None:
    clean = thumbnails(pictures())
    noisy = np.clip(clean + np.random.default_rng(0).integers(-2, 3, clean.shape), 0, 255).astype(np.uint8)
    assert bits_between(clean, noisy) < 20
    assert bits_between(clean, np.roll(clean, 1, axis=0)) == pytest.approx(128, abs=15)


def bits_between(first: np.ndarray, second: np.ndarray) -> float:
    """On average, of the 256."""
    hashes = [perceptual_hashes(small, np.arange(len(small))) for small in (first, second)]
    return float(np.bitwise_count(hashes[0] ^ hashes[1]).sum(axis=1).mean())


def test_hashing_finds_what_comparing_all_pairs_finds() -> None:
    rng = np.random.default_rng(0)
    images = np.repeat(thumbnails(pictures(200)), 2, axis=0).astype(int)
    images = np.clip(images + rng.normal(size=images.shape) * rng.uniform(0, 12, (400, 1, 1)), 0, 255).astype(np.uint8)
    first, second = np.triu_indices(len(images), 1)
    near = correlations(images, first, second) >= LEAST_CORRELATION
    assert 100 < near.sum() < 200
    found = {(pair["first"], pair["second"]) for pair in near_pairs(images, np.arange(len(images)))}
    expected = set(zip(first[near], second[near], strict=True))
    assert found <= expected
    assert len(found) >= 0.97 * len(expected)
