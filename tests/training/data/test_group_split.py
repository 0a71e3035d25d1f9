"""Groups that somebody gave, such as patients, are never divided among the sides of a split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.decoded import decoded_images, random_hashes
from training.data.decoded import DecodedImages
from training.data.index import BadData
from training.data.split import TEST, TRAIN, VAL, Split, split_by_content


def grouped_images(given: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> DecodedImages:
    """Images that are no near duplicates, in these groups."""
    images = np.zeros((len(given), 8, 8, 1), np.uint8)
    return replace(
        decoded_images(images, labels, hashes=random_hashes(len(given), seed=seed)), given_groups=given.astype(np.int32)
    )


def sides_of(split: Split, count: int) -> np.ndarray:
    sides = np.zeros(count, np.int8)
    for side, rows in ((TRAIN, split.train), (VAL, split.val), (TEST, split.test)):
        sides[rows] = side
    return sides


def is_divided(groups: np.ndarray, sides: np.ndarray) -> bool:
    return any(len(set(sides[groups == group].tolist())) > 1 for group in set(groups.tolist()) - {-1})


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_on_one_side_though_its_images_have_many_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = rng.integers(-1, 40, 600)
    labels = rng.integers(0, 5, 600)
    sides = sides_of(split_by_content(grouped_images(given, labels, seed=seed)), 600)
    assert not is_divided(given, sides)
    assert all(70 <= (sides == side).sum() <= 110 for side in (VAL, TEST))  # 90 each
    assert all(set(labels[sides == side].tolist()) == set(range(5)) for side in (TRAIN, VAL, TEST))


def test_few_large_groups_leave_something_to_train_on_and_fill_each_side() -> None:
    """Four cameras, one of which took most of the images."""
    given = np.repeat([0, 1, 2, 3], (400, 40, 30, 30))
    sides = sides_of(split_by_content(grouped_images(given, np.arange(500) % 2)), 500)
    assert not is_divided(given, sides)
    assert (sides == TRAIN).sum() >= 400
    assert min((sides == VAL).sum(), (sides == TEST).sum()) >= 30


def test_a_class_of_one_group_is_trained_on() -> None:
    """Its group would otherwise be held out, in which nothing could be learnt of it."""
    given = np.repeat(np.arange(12), 10)
    labels = np.where(given == 5, 1, 0)
    sides = sides_of(split_by_content(grouped_images(given, labels)), 120)
    assert set(sides[labels == 1].tolist()) == {TRAIN}


def test_too_few_groups_are_an_error_that_says_so() -> None:
    with pytest.raises(BadData, match=r"too few to validate and test on.* A group of images counts as one here"):
        split_by_content(grouped_images(np.arange(60) % 2, np.arange(60) // 2 % 2))


def test_splits_that_are_there_stay_and_the_missing_one_is_made_of_whole_groups() -> None:
    given = np.repeat(np.arange(40), 5)
    decoded = grouped_images(given, np.arange(200) % 2)
    decoded.files["split"] = np.where(np.arange(200) < 150, TRAIN, TEST)
    sides = sides_of(split_by_content(decoded), 200)
    assert (np.flatnonzero(sides == TEST) == np.arange(150, 200)).all()
    assert 15 <= (sides == VAL).sum() <= 30
    assert not is_divided(given, sides)


def test_near_duplicates_join_groups() -> None:
    decoded = grouped_images(np.repeat(np.arange(30), 4), np.zeros(120, int))
    decoded.files["group"][80] = 3  # a near duplicate of an image in another group
    groups = decoded.groups()
    assert groups[80] == groups[83] == groups[0] == 0
    sides = sides_of(split_by_content(decoded), 120)
    assert len(set(sides[[0, 1, 2, 3, 80, 81, 82, 83]].tolist())) == 1


def test_groups_that_were_held_out_stay_so_when_groups_are_added(tmp_path: Path) -> None:
    given = np.repeat(np.arange(60), 5)
    labels = np.arange(300) % 3
    few = grouped_images(given[:150], labels[:150])
    before = sides_of(split_by_content(few, memory=tmp_path / "held.npy"), 150)
    sides = sides_of(split_by_content(grouped_images(given, labels), memory=tmp_path / "held.npy"), 300)
    assert (sides[:150][before != TRAIN] == before[before != TRAIN]).all()
    assert not is_divided(given, sides)
