"""Which images are learnt from, which choose between models, and which judge: decided by content.

An image's side follows from its own hash, or from the smallest hash among its near duplicates, so that all of them are
on one side. Since an addition can only lower that, and a low hash is held out, none that was held out is trained on
later. Where chance leaves a side of a small class empty, its smallest hashes fill it; a memory keeps them there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.durable import replacing, write_array
from training.cache import DecodedImages
from training.duplicates import group_duplicates
from training.index import SPLITS, BadData

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

    Where some images have no side named, as those that were added to a folder with splits, they get all sides.

    Args:
        fractions: of validation and of test; an image never changes sides while these stay as they are. 0 holds
            nothing out.
        memory: a file that remembers who was held out, so that it stays so.
        without: uint64, of images that are on no side (`DecodedImages.hashes`).

    Raises:
        BadData: some class has no image to train on, or nothing is left to validate or test on.
    """
    named = decoded.files["split"]
    sides = np.where(named == 0, TRAIN, named)
    wanted = {side: part for side, part in zip((VAL, TEST), fractions, strict=True) if part}
    missing = {side: part for side, part in wanted.items() if not (named == side).any()}
    free = [(np.flatnonzero(named == said), sides_to_make) for said, sides_to_make in ((0, wanted), (TRAIN, missing))]
    free = [(rows, sides_to_make) for rows, sides_to_make in free if sides_to_make and len(rows)]
    if free:
        hashes, groups = decoded.hashes(), group_duplicates(decoded.files["pixels"], decoded.thumbnails)
        for rows, sides_to_make in free:
            _, ours = np.unique(groups[rows], return_inverse=True)
            sides[rows] = assign(hashes[rows], ours, decoded.labels[rows], sides_to_make, memory)
        follow_named(sides, groups, named)
    kept = np.ones(len(sides), bool) if without is None else ~np.isin(decoded.hashes(), without)
    split = Split(*(np.flatnonzero(kept & (sides == side)) for side in (TRAIN, VAL, TEST)))
    check_split(split, decoded, held_out=bool(wanted))
    return split


def follow_named(sides: np.ndarray, groups: np.ndarray, named: np.ndarray) -> None:
    """An image without a side of its own goes where the folder has put a near duplicate of it."""
    free = named == 0
    for side in (TRAIN, VAL, TEST):
        there = np.isin(groups, np.unique(groups[named == side]))
        sides[free & there] = side


def assign(
    hashes: np.ndarray, groups: np.ndarray, labels: np.ndarray, missing: dict[int, float], memory: Path | None
) -> np.ndarray:
    """The side of each image, by the start of its content hash, its group of duplicates and its label, (N,) each."""
    sides = np.full(len(hashes), TRAIN)
    smallest = np.full(groups.max(initial=0) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, groups, hashes)
    keys = smallest[groups]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        for side, chosen in held_out(np.unique(keys[rows]), missing):
            sides[rows[np.isin(keys[rows], chosen)]] = side
    before = np.load(memory) if memory and memory.exists() else np.empty(0, HELD_OUT)
    put_back(sides, hashes, labels, before[np.isin(before["side"], list(missing))])
    for side in (TEST, VAL):  # a group with several labels is wherever one of them is held out
        held = np.zeros(len(smallest), bool)
        held[groups[sides == side]] = True
        sides[held[groups]] = side
    if memory:
        remember(memory, before, sides, hashes)
    return sides


def held_out(keys: np.ndarray, missing: dict[int, float]) -> Iterator[tuple[int, np.ndarray]]:
    """For each missing side the keys that are held out for it: the small ones, of ascending uint64 of one class.

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


def put_back(sides: np.ndarray, hashes: np.ndarray, labels: np.ndarray, before: np.ndarray) -> None:
    """What an earlier split held out stays where it was, but for a class of which nothing else is left to train on."""
    if not len(before):
        return
    places = np.searchsorted(before["hash"], hashes).clip(max=len(before) - 1)
    known = before["hash"][places] == hashes
    trained = np.bincount(labels[~known & (sides == TRAIN)], minlength=labels.max() + 1) > 0
    known &= trained[labels]
    sides[known] = before["side"][places[known]]


def remember(memory: Path, before: np.ndarray, sides: np.ndarray, hashes: np.ndarray) -> None:
    """Write down what is held out now, and what was before of images that are not there at the moment."""
    held = sides != TRAIN
    now = np.empty(held.sum(), HELD_OUT)
    now["hash"], now["side"] = hashes[held], sides[held]
    everything = np.concatenate([now, before])
    _, first = np.unique(everything["hash"], return_index=True)
    with replacing(memory) as temporary:
        write_array(temporary, everything[first])


def check_split(split: Split, decoded: DecodedImages, *, held_out: bool) -> None:
    untrained = set(range(len(decoded.class_names))) - set(decoded.labels[split.train].tolist())
    if untrained:
        name = decoded.class_names[min(untrained)]
        raise BadData(f"No image of class {name!r} is left to train on. Add some, or remove the class.")
    if held_out and not (len(split.val) and len(split.test)):
        raise BadData(
            f"{len(decoded.labels)} images are too few to validate and test on: give at least "
            f"{SMALLEST_CLASS} different ones in some class."
        )
