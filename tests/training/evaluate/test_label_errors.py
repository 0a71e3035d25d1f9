"""Wrong labels are found by networks that have not seen the image."""

from dataclasses import replace

import numpy as np

from tests.training.decoded import decoded_images, halves_and_quarters, separable
from training.data.split import Split
from training.evaluate.label_errors import find_label_errors, folds_of, out_of_fold

LABELS = np.array([0] * 6 + [1] * 6)
ROWS = np.arange(100, 112)


def test_an_image_that_is_surely_of_another_class_is_in_doubt_and_the_surest_comes_first() -> None:
    probabilities = np.where(np.arange(2) == LABELS[:, None], 0.9, 0.1)
    probabilities[2], probabilities[8], probabilities[9] = (0.05, 0.95), (0.8, 0.2), (0.55, 0.45)
    errors = find_label_errors(ROWS, LABELS, probabilities)
    assert [(error.row, error.label, error.suggested) for error in errors] == [(102, 0, 1), (108, 1, 0)]
    assert errors[0].probability == 0.95


def test_a_class_that_is_hard_throughout_is_not_in_doubt() -> None:
    """Each class is believed by its own measure: 0.4 of a class that never has more is much."""
    probabilities = np.where(np.arange(2) == LABELS[:, None], 0.9, 0.1)
    probabilities[LABELS == 1] = (0.6, 0.4)
    assert find_label_errors(ROWS, LABELS, probabilities) == []


def test_a_class_without_images_is_never_suggested() -> None:
    probabilities = np.full((12, 3), 1 / 3)
    assert {error.suggested for error in find_label_errors(ROWS, LABELS, probabilities)} <= {0, 1}


def test_every_training_image_is_judged_once_by_a_network_that_was_trained_without_it() -> None:
    decoded = separable()
    split = halves_and_quarters(decoded)
    seen: list[Split] = []

    def answer(fold: Split) -> np.ndarray:
        seen.append(fold)
        return fold.test[:, None] * np.ones(2)

    rows, probabilities = out_of_fold(decoded, split, 3, answer)
    assert sorted(rows) == sorted(split.train)
    np.testing.assert_array_equal(probabilities[:, 0], rows)
    for fold in seen:
        assert not set(fold.train) & set(fold.test)
        assert set(fold.train) | set(fold.test) == set(split.train)
        np.testing.assert_array_equal(fold.val, split.val)


def test_near_duplicates_are_in_one_fold() -> None:
    """A copy with a wrong label would otherwise vouch for it."""
    images = np.random.default_rng(0).integers(0, 255, (30, 8, 8, 1), np.uint8)
    decoded = decoded_images(np.repeat(images, 2, axis=0), np.arange(60) % 2)
    everything = Split(np.arange(60), np.arange(0), np.arange(0))
    for fold in folds_of(replace(decoded), everything, 3):
        assert set(fold.test // 2) & set(fold.train // 2) == set()


def test_a_group_of_images_is_in_one_fold() -> None:
    decoded = replace(separable(60), given_groups=np.arange(60) // 5)
    rows = np.arange(60)
    for fold in folds_of(decoded, Split(rows, rows[:0], rows[:0]), 3):
        assert not set((fold.train // 5).tolist()) & set((fold.test // 5).tolist())
