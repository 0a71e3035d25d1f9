"""Assigns images to the train, validation and test splits by a hash of their content.

An image's side follows from its own hash, or from the smallest hash among its near duplicates, so that all of them are
on one side. Adding a near duplicate can only lower this hash, and low hashes are held out. In a class of three or more,
each held-out split gets at least one image, even if none is low enough.

A memory keeps what is held out where it is, whatever is added. The one exception is an image that connects near
duplicates of different sides: it moves all of them to the test split if some are there, else to the validation split.

Where groups were given (patients, cameras, days), they are never divided. A group may have images of many classes, so
that whole groups are drawn, in the order of their smallest hashes, until a side has its share of the images.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.files.durable import replacing, write_array
from training.data.decoded import DecodedImages
from training.data.index import SPLITS, BadData

FRACTIONS = (0.15, 0.15)  # of validation and test
SMALLEST_CLASS = 3  # images of which one can train, one validate and one test
HELD_OUT = np.dtype([("hash", np.uint64), ("side", np.int8)])
TRAIN, VAL, TEST = (SPLITS.index(side) for side in ("train", "val", "test"))


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of the decoded images, ascending: int64 (N,) each, no row in two of them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def split_by_content(
    decoded: DecodedImages,
    fractions: tuple[float, float] = FRACTIONS,
    *,
    memory: Path | None = None,
    without: np.ndarray | None = None,
) -> Split:
    """Follow the splits that the folder names; make the missing ones out of its training images.

    Images without a named split, such as those added to a folder with splits, are divided among all splits.

    Args:
        fractions: of validation and of test. 0 holds nothing out.
        memory: a file that remembers which images were held out by these fractions, so that they stay so.
        without: uint64, of images that are on no side (`DecodedImages.hashes`).

    Raises:
        BadData: some class has no image to train on, or nothing is left to validate or test on.
    """
    named, groups, hashes = decoded.files["split"], decoded.groups(), decoded.hashes()
    make = assign if decoded.given_groups is None else assign_groups
    sides = np.where(named == 0, TRAIN, named)
    wanted = {side: part for side, part in zip((VAL, TEST), fractions, strict=True) if part}
    missing = {side: part for side, part in wanted.items() if not (named == side).any()}
    remembered = load_held_out(memory)
    before = sides_before(hashes, remembered)
    for said, to_make in ((0, wanted), (TRAIN, missing)):
        if to_make:
            rows = np.flatnonzero(named == said)
            sides[rows] = make(hashes[rows], groups[rows], decoded.labels[rows], to_make, before[rows])
    follow_named(sides, groups, named, before)
    if memory and wanted:
        ours = named <= TRAIN  # the folder itself remembers the others
        save_held_out(memory, remembered, sides[ours], hashes[ours])
    kept = np.ones(len(sides), bool) if without is None else ~np.isin(hashes, without)
    split = Split(*(np.flatnonzero(kept & (sides == side)) for side in (TRAIN, VAL, TEST)))
    check_split(split, decoded, held_out=bool(wanted))
    return split


def load_held_out(memory: Path | None) -> np.ndarray:
    """HELD_OUT (N,)."""
    try:
        found: np.ndarray = np.load(memory) if memory and memory.exists() else np.empty(0, HELD_OUT)
    except (ValueError, EOFError) as error:
        raise BadData(
            f"{memory}, which remembers what was held out, is damaged ({error}). Delete it; images that models were "
            "tested on may be trained on then."
        ) from None
    return found


def sides_before(hashes: np.ndarray, remembered: np.ndarray) -> np.ndarray:
    """int8 (N,): where an earlier split held each image out; 0 where it did not."""
    if not len(remembered):
        return np.zeros(len(hashes), np.int8)
    places = np.searchsorted(remembered["hash"], hashes).clip(max=len(remembered) - 1)
    return np.where(remembered["hash"][places] == hashes, remembered["side"][places], np.int8(0))


def follow_named(sides: np.ndarray, groups: np.ndarray, named: np.ndarray, before: np.ndarray) -> None:
    """An image without a side of its own goes where the folder has put a near duplicate of it.

    Exception: an image does not move to training if a near duplicate was held out before, nor to validation if one was
        in the test split.
    """
    free = named == 0
    least = np.zeros(groups.max(initial=0) + 1, np.int8)
    np.maximum.at(least, groups, before)
    for side in (TRAIN, VAL, TEST):
        there = np.isin(groups, groups[~free & (sides == side)])
        sides[free & there & (side >= least[groups])] = side


def assign(
    hashes: np.ndarray, groups: np.ndarray, labels: np.ndarray, to_make: dict[int, float], before: np.ndarray
) -> np.ndarray:
    """The side of each image, by its content hash, group of duplicates, label, and where it was held out, (N,) each."""
    sides = np.full(len(hashes), TRAIN)
    smallest = np.full(groups.max(initial=0) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, groups, hashes)
    keys = smallest[groups]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        for side, chosen in held_out(np.unique(keys[rows]), to_make):
            sides[rows[np.isin(keys[rows], chosen)]] = side
    known = put_back(sides, labels, np.where(np.isin(before, list(to_make)), before, 0))
    keep_together(sides, groups, labels, known)
    return sides


def assign_groups(
    hashes: np.ndarray, groups: np.ndarray, labels: np.ndarray, to_make: dict[int, float], before: np.ndarray
) -> np.ndarray:
    """The same, where groups were given: all images of a group get one side."""
    _, numbers = np.unique(groups, return_inverse=True)
    drawn = GroupsOfImages(numbers, labels)
    smallest = np.full(drawn.num_groups, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, numbers, hashes)
    order = [int(group) for group in np.argsort(smallest)]
    held_out_before = np.zeros(drawn.num_groups, np.int8)
    np.maximum.at(held_out_before, numbers, np.where(np.isin(before, list(to_make)), before, 0).astype(np.int8))
    for group in order:
        if held_out_before[group]:
            drawn.hold_out(group, int(held_out_before[group]))
    for side, fraction in to_make.items():
        for group in order:
            if drawn.num_images[side] + drawn.sizes[group] / 2 <= fraction * len(labels):
                drawn.hold_out(group, side)
    by_size = sorted(order, key=lambda group: int(drawn.sizes[group]))
    for side in reversed(to_make):
        for label in drawn.labels_in_several(len(to_make)):
            if not drawn.has(side, label):
                for group in by_size:
                    if label in drawn.labels[group] and drawn.hold_out(group, side):
                        break
    return drawn.sides[numbers]


class GroupsOfImages:
    """Groups on their way to the sides of a split; at first all are on the training side."""

    def __init__(self, numbers: np.ndarray, labels: np.ndarray) -> None:
        """int (N,) each: the group of each image, numbered from 0 without gaps, and its label."""
        self.num_groups = int(numbers.max(initial=-1)) + 1
        self.sizes = np.bincount(numbers, minlength=self.num_groups)
        self.sides = np.full(self.num_groups, TRAIN)
        self.num_images = {VAL: 0, TEST: 0}
        pairs = np.unique(np.stack([numbers, labels], axis=1), axis=0)
        starts = np.searchsorted(pairs[:, 0], np.arange(1, self.num_groups))
        self.labels = [set(some.tolist()) for some in np.split(pairs[:, 1], starts)]
        self._num_trained = Counter(pairs[:, 1].tolist())  # groups to train on, by label
        self._num_groups_of = Counter(self._num_trained)
        self._held = {side: Counter[int]() for side in (VAL, TEST)}  # groups by label

    def hold_out(self, group: int, side: int) -> bool:
        """Move a group from the training side, unless it is not there, or some class would have no other to train on.

        Returns:
            Whether it was moved.
        """
        if self.sides[group] != TRAIN or any(self._num_trained[label] < 2 for label in self.labels[group]):
            return False
        self.sides[group] = side
        self.num_images[side] += int(self.sizes[group])
        self._num_trained.subtract(self.labels[group])
        self._held[side].update(self.labels[group])
        return True

    def has(self, side: int, label: int) -> bool:
        return self._held[side][label] > 0

    def labels_in_several(self, num_held_out: int) -> list[int]:
        """The classes with enough groups for each held-out side and for training."""
        return [label for label, count in sorted(self._num_groups_of.items()) if count > num_held_out]


def keep_together(sides: np.ndarray, groups: np.ndarray, labels: np.ndarray, known: np.ndarray) -> None:
    """Move a group to the split in which one of its images is held out; test takes precedence over validation.

    A class that would lose its last training images keeps its assignment.
    """
    apart = sides.copy()
    for side in (TEST, VAL):
        sides[np.isin(groups, groups[sides == side])] = side
    used_up = np.bincount(labels[sides == TRAIN], minlength=labels.max(initial=0) + 1) == 0
    stay = (used_up & (np.bincount(labels[known], minlength=len(used_up)) > 0))[labels]
    sides[stay] = apart[stay]


def held_out(keys: np.ndarray, missing: dict[int, float]) -> Iterator[tuple[int, np.ndarray]]:
    """For each split to make, yield its held-out keys: the smallest of one class's ascending keys (uint64).

    A class of three or more gets at least one on each side: its smallest, where none is small enough.
    """
    if len(keys) < SMALLEST_CLASS:
        return
    threshold = 0.0
    for still_missing, (side, fraction) in zip(reversed(range(len(missing))), missing.items(), strict=True):
        threshold += fraction
        spare = len(keys) - still_missing - 1  # one for each side to come, and one to train on
        num_chosen = min(spare, max(1, int(np.searchsorted(keys / 2.0**64, threshold))))
        yield side, keys[:num_chosen]
        keys = keys[num_chosen:]


def put_back(sides: np.ndarray, labels: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return images that were held out before to their split, unless their class has no other training images.

    Returns:
        bool (N,): which images those are.
    """
    known = before > 0
    trained = np.bincount(labels[~known & (sides == TRAIN)], minlength=labels.max(initial=0) + 1) > 0
    known &= trained[labels]
    sides[known] = before[known]
    return known


def save_held_out(memory: Path, before: np.ndarray, sides: np.ndarray, hashes: np.ndarray) -> None:
    """Save which images are held out now, and keep the earlier entries of all other images."""
    held = sides != TRAIN
    now = np.empty(held.sum(), HELD_OUT)
    now["hash"], now["side"] = hashes[held], sides[held]
    everything = np.concatenate([now, before])
    _, first = np.unique(everything["hash"], return_index=True)
    with replacing(memory) as temporary:
        write_array(temporary, everything[first])


def check_split(split: Split, decoded: DecodedImages, *, held_out: bool) -> None:
    of_groups = "" if decoded.given_groups is None else " A group of images counts as one here: it is never divided."
    untrained = set(range(len(decoded.class_names))) - set(decoded.labels[split.train].tolist())
    if untrained:
        name = decoded.class_names[min(untrained)]
        raise BadData(f"No image of class {name!r} is left to train on. Add some, or remove the class.{of_groups}")
    if held_out and not (len(split.val) and len(split.test)):
        raise BadData(
            f"{len(decoded.labels)} images are too few to validate and test on: give at least "
            f"{SMALLEST_CLASS} different ones in some class.{of_groups}"
        )
