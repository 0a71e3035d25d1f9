"""Labels that are likely wrong: confident learning (Northcutt et al., 2021, https://arxiv.org/abs/1911.00068)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from training.data.decoded import DecodedImages
from training.data.index import BadData
from training.data.split import Split


@dataclass(frozen=True, slots=True)
class LabelError:
    """An image whose label its pixels contradict."""

    row: int  # of the decoded images
    label: int  # label, suggested: positions in the class names
    suggested: int
    probability: float  # of the class that is suggested


def find_label_errors(rows: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> list[LabelError]:
    """The likeliest first.

    A class is a candidate for an image if its probability is at least the mean probability of that class over the
    images labelled with it. A label is doubtful if the most probable candidate is another class.

    Args:
        rows, labels: int64 (N,).
        probabilities: float (N, num_classes), of networks that had not seen these images.
    """
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, weights=own, minlength=probabilities.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    believed = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = believed.argmax(axis=1)
    greatest = believed.max(axis=1)
    doubtful = np.flatnonzero((greatest >= 0) & (suggested != labels))
    order = doubtful[np.argsort(own[doubtful] - greatest[doubtful], kind="stable")]
    return [LabelError(int(rows[i]), int(labels[i]), int(suggested[i]), float(greatest[i])) for i in order]


def folds_of(decoded: DecodedImages, split: Split, num_folds: int) -> Iterator[Split]:
    """The training images in parts, near duplicates in the same: each part is once the test split of the others."""
    _, numbers = np.unique(decoded.groups()[split.train], return_inverse=True)
    num_groups = int(numbers.max()) + 1
    if num_groups < num_folds:
        raise BadData(
            f"The training images are near duplicates of {num_groups} pictures, too few to look for wrong labels in "
            f"{num_folds} parts; add images, or leave --label-errors out."
        )
    parts = np.random.default_rng(0).permutation(num_groups)[numbers] % num_folds
    for part in range(num_folds):
        yield Split(split.train[parts != part], split.val, split.train[parts == part])


def out_of_fold(
    decoded: DecodedImages, split: Split, num_folds: int, answer: Callable[[Split], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training images, and what networks answer that were trained without them.

    Args:
        answer: trains on a split, and returns float (N, num_classes) of its test rows.
    """
    folds = list(folds_of(decoded, split, num_folds))
    return np.concatenate([fold.test for fold in folds]), np.concatenate([answer(fold) for fold in folds])
