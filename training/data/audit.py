"""Audit of a folder of images: unreadable files, duplicates, conflicting labels, leaks and class imbalance.

`striate audit PATH` prints it; `fit` writes it into the run as `audit.json`, and goes on.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.bundle.class_names import look_alike
from models.bundle.preprocessing import InputSpec
from training.data.decoded import DecodedImages
from training.data.file_info import KINDS, ODDITIES
from training.data.index import SPLITS, Index

SPEC = InputSpec(64, 64, 3, "squash")  # what is decoded where no network is chosen yet
FEW = 20  # images of a class; with fewer its figures mean little
MAX_SHOWN = 5  # of each kind of finding on the screen
Groups = tuple[tuple[str, ...], ...]  # each of paths


@dataclass(frozen=True, slots=True)
class Audit:
    """Attributes:
    unreadable: {path: reason}, left out.
    classes: {name: readable images}.
    copies: files whose pixels are equal, though their bytes may differ.
    near_copies: files that show the same picture: re-encoded, scaled, brightened.
    two_labels: groups of either kind that lie in several classes.
    leaked: groups of either kind that the folder's own splits put on several sides.
    alike: {first path: images} of those that look alike and were too many to be one group.
    sides: {"width" | "height": (smallest, median, largest)}, pixels; `aspect` is width / height.
    formats: {format: files}.
    oddities: {what is odd: paths}; all of them are read.
    left_out: {path: reason} of folders, links and tables that are not read, and of images outside of class folders.
    similar_names: groups of class names that differ only by case, blanks or invisible characters.
    untrained: {name: splits it is in} of classes that the folder's own splits leave nothing to train on.
    notes: how a table and groups were read.
    unlisted: images in the folder that the table does not name.
    missing: what the table names that is no file.
    divided_groups: the first image of each group, given by a table or a pattern, that own splits put on several sides.
    """

    num_images: int
    unreadable: dict[str, str]
    classes: dict[str, int]
    copies: Groups
    near_copies: Groups
    two_labels: Groups
    leaked: Groups
    alike: dict[str, int]
    sides: dict[str, tuple[float, float, float]]
    formats: dict[str, int]
    oddities: dict[str, tuple[str, ...]]
    left_out: dict[str, str]
    similar_names: Groups
    untrained: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    divided_groups: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def audit(decoded: DecodedImages, index: Index) -> Audit:
    """Of the images that an index lists."""
    files = decoded.files
    groups = list(members(files["group"]))

    def where(values: np.ndarray, *, differ: bool) -> Groups:
        """Paths of the groups whose members differ in `values`, or all agree."""
        chosen = (rows for rows in groups if bool((values[rows] != values[rows[0]]).any()) == differ)
        return tuple(tuple(decoded.paths[row] for row in rows) for rows in chosen)

    return Audit(
        num_images=len(files),
        unreadable=decoded.unreadable,
        classes={name: int((decoded.labels == label).sum()) for label, name in enumerate(decoded.class_names)},
        copies=where(files["pixels"], differ=False),
        near_copies=where(files["pixels"], differ=True),
        two_labels=where(decoded.labels, differ=True),
        leaked=where(files["split"], differ=True),
        alike={decoded.paths[row]: count for row, count in divided(files["group"], files["look"])},
        sides={
            "width": spread(files["width"]),
            "height": spread(files["height"]),
            "aspect": spread(files["width"] / np.maximum(files["height"], 1)),
        },
        formats={kind: int((files["kind"] == i).sum()) for i, kind in enumerate(KINDS) if (files["kind"] == i).any()},
        oddities={
            oddity: tuple(decoded.paths[row] for row in np.flatnonzero(files["oddities"] & (1 << bit)))
            for bit, oddity in enumerate(ODDITIES)
        },
        left_out=index.left_out,
        similar_names=tuple(look_alike(decoded.class_names)),
        untrained=dict(untrained_classes(decoded)),
        notes=index.notes,
        unlisted=index.unlisted,
        missing=index.missing,
        divided_groups=tuple(divided_groups(decoded)),
    )


def divided_groups(decoded: DecodedImages) -> Iterator[str]:
    """The first path of each given group whose images are in more than one of the folder's own splits."""
    if decoded.given_groups is not None:
        splits, rows = decoded.files["split"], np.flatnonzero(decoded.given_groups >= 0)
        for group in members(decoded.given_groups[rows]):
            if (splits[rows[group]] != splits[rows[group[0]]]).any():
                yield decoded.paths[rows[group[0]]]


def untrained_classes(decoded: DecodedImages) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Classes that have images for validation or testing only, with the splits that these are in."""
    for label, name in enumerate(decoded.class_names):
        splits = np.unique(decoded.files["split"][decoded.labels == label])
        if len(splits) and splits.min() > SPLITS.index("train"):
            yield name, tuple(SPLITS[split] for split in splits)


def members(groups: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each group of two and more, by its first."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        if len(rows) > 1:
            yield rows


def divided(groups: np.ndarray, looks: np.ndarray) -> Iterator[tuple[int, int]]:
    """First row and number of images of each set of similar images that was divided into several groups."""
    counts = np.bincount(looks)
    for row in np.unique(looks[groups != looks]):
        yield int(row), int(counts[row])


def spread(values: np.ndarray) -> tuple[float, float, float]:
    """Smallest, median, largest."""
    return float(values.min()), float(np.median(values)), float(values.max())


def findings(found: Audit) -> Iterator[tuple[str, list[str]]]:
    """What is worth a person's attention: a sentence each, and examples of it."""
    untrained = [f"{name}: only in {' and '.join(splits)}" for name, splits in found.untrained.items()]
    names = [" = ".join(map(repr, group)) for group in found.similar_names]
    yield from ((note, []) for note in found.notes)
    for noun, what, examples in (
        ("row", "of the table whose file is missing", list(found.missing)),
        ("image", "in the folder that the table does not name", list(found.unlisted)),
        ("group", "with images in more than one split: test results will be too optimistic", [*found.divided_groups]),
        ("path", "left out, not read as images", with_reasons(found.left_out)),
        ("class", "without an image to train on: add some, or remove the class before training", untrained),
        ("group", "of class names that differ only by case or blanks: are these one class?", names),
        ("file", "left out, unreadable", with_reasons(found.unreadable)),
        ("picture", "with more than one label: at most one is right", joined(found.two_labels)),
        ("picture", "in more than one split of the folder: test results will be too optimistic", joined(found.leaked)),
        ("picture", "stored more than once", joined(found.copies)),
        ("picture", "stored more than once in slightly different form", joined(found.near_copies)),
    ):
        if examples:
            yield f"{counted(len(examples), noun)} {what}", examples
    if found.alike:
        what = "look alike, too many for one side of the split: only closer copies among them are kept together"
        examples = [f"{counted(count, 'image')} like {path}" for path, count in found.alike.items()]
        yield f"{counted(sum(found.alike.values()), 'image')} {what}", examples
    few = [f"{name}: {count}" for name, count in found.classes.items() if count < FEW]
    if few:
        yield f"{counted(len(few), 'class')} of fewer than {FEW} images", few
    counts = np.array([count for count in found.classes.values() if count])
    if is_imbalanced(counts):
        times = f"{counts.max() / counts.min():.0f} times"
        yield f"the largest class has {times} as many images as the smallest: use balanced accuracy", []
    for oddity, paths in found.oddities.items():
        if paths:
            yield f"{counted(len(paths), 'file')}, read all the same: {oddity}", list(paths)


def summary(found: Audit) -> list[str]:
    """The findings as lines, with a few examples each."""
    lines = []
    for sentence, examples in findings(found):
        lines.append(sentence)
        lines += [f"  {example}" for example in examples[:MAX_SHOWN]]
        if len(examples) > MAX_SHOWN:
            lines.append(f"  and {len(examples) - MAX_SHOWN:,} more")
    return lines


def statistics(found: Audit) -> list[str]:
    """What the images are like, in lines."""
    classes = ", ".join(f"{name} {count:,}" for name, count in found.classes.items())
    formats = ", ".join(f"{kind or 'unknown'} {count:,}" for kind, count in found.formats.items())
    spreads = (f"{name} {low:g} to {high:g}, median {mid:g}" for name, (low, mid, high) in found.sides.items())
    return [
        f"{counted(found.num_images, 'image')} in {len(found.classes)} classes: {classes}",
        f"formats: {formats}",
        f"pixels: {'; '.join(spreads)}",
    ]


def counted(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def with_reasons(reasons: dict[str, str]) -> list[str]:
    return [f"{path}: {reason}" for path, reason in reasons.items()]


def joined(groups: Groups) -> list[str]:
    return [" = ".join(paths) for paths in groups]


IMBALANCE_RATIO = 5.0  # largest class to smallest; above it, accuracy mostly measures the largest class


def is_imbalanced(counts: np.ndarray) -> bool:
    """Whether some class has many times the images of another; those without any count for nothing."""
    present = counts[counts > 0]
    return bool(present.max() > IMBALANCE_RATIO * present.min())
