"""Which images are learnt from, which choose between models, and which judge: decided by content.

An image's side follows from its own hash, so it never changes when others are added, and copies stay together.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from training.cache import DecodedImages
from training.index import BadData

FRACTIONS = (0.15, 0.15)  # of validation and test
SMALLEST_CLASS = 3  # images of which one can train, one validate and one test


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of the decoded images, ascending: int64 (N,) each, no row in two of them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def split_by_content(decoded: DecodedImages, fractions: tuple[float, float] = FRACTIONS) -> Split:
    """Follow the splits that the folder names; make the missing ones out of its training images.

    Args:
        fractions: of validation and of test; an image never changes sides while these stay as they are.

    Raises:
        BadData: some class has no image to train on, or nothing is left to validate or test on.
    """
    wanted = dict(zip(("val", "test"), fractions, strict=True))
    missing = {side: fraction for side, fraction in wanted.items() if side not in decoded.splits}
    sides = np.array([side or "train" for side in decoded.splits], dtype="U5")
    if missing:
        for label in range(len(decoded.class_names)):
            assign_class(sides, np.flatnonzero((decoded.labels == label) & (sides == "train")), decoded.hashes, missing)
    split = Split(*(np.flatnonzero(sides == side) for side in ("train", "val", "test")))
    check_split(split, decoded)
    return split


def assign_class(sides: np.ndarray, rows: np.ndarray, hashes: tuple[str, ...], missing: dict[str, float]) -> None:
    """Move the images of one class whose hash is small out of training, to each missing side its fraction.

    A class of three or more gets at least one on each side: its smallest hashes, where none is small enough.
    """
    copies = defaultdict(list)  # hash: rows
    for row in rows:
        copies[hashes[row]].append(row)
    waiting = sorted(copies)
    if len(waiting) < SMALLEST_CLASS:
        return
    threshold = 0.0
    for still_missing, (side, fraction) in zip(reversed(range(len(missing))), missing.items(), strict=True):
        threshold += fraction
        spare = len(waiting) - still_missing - 1  # one for each side to come, and one to train on
        chosen = [h for h in waiting[:spare] if int(h[:16], 16) / 2**64 < threshold] or waiting[:1]
        waiting = waiting[len(chosen) :]
        for content in chosen:
            sides[copies[content]] = side


def check_split(split: Split, decoded: DecodedImages) -> None:
    untrained = set(range(len(decoded.class_names))) - set(decoded.labels[split.train].tolist())
    if untrained:
        name = decoded.class_names[min(untrained)]
        raise BadData(f"No image of class {name!r} is left to train on. Add some, or remove the class.")
    if not len(split.val) or not len(split.test):
        raise BadData(
            f"{len(decoded.labels)} images are too few to validate and test on: give at least "
            f"{SMALLEST_CLASS} different ones in some class."
        )
