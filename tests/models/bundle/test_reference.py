"""Drift is told where there is some, and not where there is none."""

import numpy as np
import pytest

from models.bundle.reference import STATISTICS, describe, figures, make_reference, psi
from tests.images import noise

NAMES = ("cat", "dog", "eel")


def answers(count: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), count)


def test_brightness_contrast_saturation_and_sharpness_are_what_they_say() -> None:
    grey = np.full((1, 16, 16, 3), 51, np.uint8)
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[..., 0] = 255
    stripes = np.zeros((1, 16, 16, 3), np.uint8)
    stripes[:, :, ::2] = 255
    sure = np.array([[0.7, 0.2, 0.1]])
    assert describe(grey, sure)[0, :5] == pytest.approx([0.7, 0.2, 0.0, 0.0, 0.0], abs=1e-6)
    assert describe(red, sure)[0, 3] == pytest.approx(1.0)
    assert describe(stripes, sure)[0, :5] == pytest.approx([0.7, 0.5, 0.5, 0.0, 1.0], abs=1e-6)


def test_large_images_are_described_by_some_of_their_pixels() -> None:
    image = noise(1, 224, 224, 3)
    assert describe(image, answers(1, seed=0))[0, 1] == pytest.approx(image.mean() / 255, abs=0.02)


def test_what_is_like_the_reference_has_no_distance_and_what_is_not_has() -> None:
    rng = np.random.default_rng(0)
    for known, seen, bins in ((500, 300, 10), (60, 200, 10), (1000, 200, 20)):
        expected = np.bincount(rng.integers(0, bins, known), minlength=bins) / known
        same = [psi(expected, np.bincount(rng.integers(0, bins, seen), minlength=bins), known) for _ in range(50)]
        assert np.mean(same) < 0.1
        assert np.mean(np.array(same) > 0.25) < 0.1
        other = np.bincount(rng.integers(0, bins // 2, seen), minlength=bins)
        assert psi(expected, other, known) > 0.25


def test_a_reference_is_of_the_rows_that_are_meant() -> None:
    images, probabilities = noise(300, 8, 8, 3), answers(200, seed=1)
    reference = make_reference(NAMES, images, np.arange(100, 300), probabilities)
    assert reference.num_images == 200
    assert sum(reference.class_shares) == pytest.approx(1)
    assert set(reference.edges) == set(STATISTICS)
    for name in STATISTICS:
        assert sum(reference.shares[name]) == pytest.approx(1)
        assert len(reference.shares[name]) == len(reference.edges[name]) + 1


def test_images_that_are_all_alike_make_a_reference_too() -> None:
    images = np.zeros((20, 8, 8, 1), np.uint8)
    reference = make_reference(NAMES, images, np.arange(20), np.tile([0.8, 0.1, 0.1], (20, 1)))
    assert reference.classes[0] == "cat"


def test_figures_of_pixels_are_finite_for_empty_images_and_differ_with_sharpness() -> None:
    empty = np.zeros((1, 16, 16, 3), np.uint8)
    fine, coarse = np.zeros((2, 1, 16, 16, 1), np.uint8)
    fine[:, :, ::2] = 255
    coarse[:, :, 8:] = 255
    sure = np.array([[0.7, 0.2, 0.1]])
    assert np.isfinite(figures(describe(empty, sure))).all()
    detail, far = figures(describe(fine, sure))[0, 4:] - figures(describe(coarse, sure))[0, 4:]
    assert detail > 1
    assert far < -1  # four pixels further the stripes are the same again


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 4, 3), (5, 3, 1)])
def test_the_smallest_images_can_be_described(shape: tuple[int, int, int]) -> None:
    assert np.isfinite(figures(describe(noise(2, *shape), answers(2, seed=0)))).all()
