"""The images of a folder, an archive or a named data set: found, decoded and split."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from models.bundle.preprocessing import InputSpec
from models.files.folders import expanded
from training.data.audit import Audit, audit
from training.data.decoded import DecodedImages, decode_all
from training.data.index import Index, check_apart, index_folder
from training.data.named_sets import DATA_SETS, folder_of
from training.data.split import FRACTIONS, Split, split_by_content
from training.data.table_index import index_table
from training.sources.archive import is_archive, unpacked
from training.sources.groups import NO_GROUP, about_groups, groups_in_paths, number_groups
from training.sources.labels import BY_FOLDERS, Labels


@dataclass(frozen=True, slots=True)
class Data:
    """Decoded images with their split, and where they come from."""

    source: str
    root: Path  # what the images' paths are relative to
    decoded: DecodedImages
    audit: Audit
    split: Split
    spec: InputSpec
    fractions: tuple[float, float]  # of validation and test that were asked for, where the folder was not split already
    more: tuple[Path, ...] = ()  # folders of further images
    labels: dict[str, Any] = field(default_factory=dict)  # what lineage records of a table and of groups

    def fingerprint(self) -> str:
        """One hash of the images that are on some side, with their labels."""
        return self.decoded.fingerprint(np.concatenate([self.split.train, self.split.val, self.split.test]))

    def is_further(self) -> np.ndarray:
        """bool (N,): the images of `more`."""
        beginnings = path_prefixes(self.root, self.more)
        return np.array([bool(beginnings) and path.startswith(beginnings) for path in self.decoded.paths], bool)

    def about_groups(self) -> str:
        """How many groups the split has, as a sentence; "" where none were given."""
        if self.decoded.given_groups is None:
            return ""
        given = self.decoded.given_groups
        num_given = len(np.unique(given[given >= 0]))
        _, sizes = np.unique(self.decoded.groups(), return_counts=True)
        return (
            f"split by {num_given:,} groups: with near duplicates and single images {len(sizes):,} sets that are never "
            f"divided, the largest of {int(sizes.max()):,} images"
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a data set, before any of them is read."""

    source: str  # a folder, an archive or the name of a data set, as somebody gave it
    index: Index
    more: tuple[Path, ...] = ()  # folders of further images
    labels: dict[str, Any] = field(default_factory=dict)  # what lineage records of a table and of groups

    @property
    def own(self) -> Sequence[str]:
        """The paths of the data set itself, without those of `more`."""
        others = path_prefixes(self.index.root, self.more)
        return [path for path in self.index.paths if not path.startswith(others)] if others else self.index.paths


def path_prefixes(root: Path, folders: Sequence[Path]) -> tuple[str, ...]:
    """Path prefixes, relative to `root`, of the images in these folders."""
    return tuple(f"{folder.relative_to(root)}/" for folder in folders)


def find_images(source: str, cache: Path, more: tuple[Path, ...] = (), labels: Labels = BY_FOLDERS) -> Found:
    """The images of a folder, an archive or a named data set; the last two are written into the cache if they are not
    there.

    Raises:
        BadData, BadLabels: there is no such folder, or its classes cannot be told.
        BadArchive: it cannot be unpacked.
    """
    root = resolve(source, cache)
    index = index_table(root, labels, more) if labels.file else index_folder(root, more)
    found = Found(source, index, more, labels.located(root).describe())
    return replace(found, index=grouped_by_path(found, root, labels.group_by)) if labels.group_by else found


def grouped_by_path(found: Found, root: Path, pattern: str) -> Index:
    """The index with the groups that a regular expression finds in paths relative to `root`; further images have none.

    Raises:
        BadLabels: it is found in none.
    """
    index, others = found.index, path_prefixes(found.index.root, found.more)
    start = len(str(root.resolve())) - len(str(index.root.resolve()))
    own = np.array([not (others and path.startswith(others)) for path in index.paths], bool)
    names = groups_in_paths([path[start:] for path, is_own in zip(index.paths, own, strict=True) if is_own], pattern)
    groups = np.full(len(own), NO_GROUP, np.int32)
    groups[own] = number_groups(names)
    return replace(index, groups=groups, notes=(*index.notes, about_groups(names, f"the pattern {pattern}")))


def prepare(
    found: Found,
    spec: InputSpec,
    cache: Path,
    console: Console,
    *,
    fractions: tuple[float, float] = FRACTIONS,
    without: np.ndarray | None = None,
    memory: Path | None = None,
) -> Data:
    """Decode and split images.

    Args:
        fractions: of validation and test, where the folder is not split already.
        without: hashes of images that are left out (`training.data.split.split_by_content`).
        memory: the file that remembers which images are held out, so that they stay so (`split_by_content`).

    Raises:
        BadData: it cannot be trained on as it is.
    """
    decoded = decode_folder(found.index, spec, cache, console)
    audited = audit(decoded, found.index)
    if without is not None:
        decoded = without_empty_classes(decoded, without)
    split = split_by_content(decoded, fractions, memory=memory, without=without)
    return Data(found.source, found.index.root, decoded, audited, split, spec, fractions, found.more, found.labels)


def without_empty_classes(decoded: DecodedImages, without: np.ndarray) -> DecodedImages:
    """Remove classes whose images are all left out; these images get label 0 and belong to no split."""
    kept = np.bincount(decoded.labels[~np.isin(decoded.hashes(), without)], minlength=len(decoded.class_names)) > 0
    places = np.maximum(np.cumsum(kept) - 1, 0) * kept
    names = tuple(name for name, has_images in zip(decoded.class_names, kept, strict=True) if has_images)
    return replace(decoded, class_names=names, labels=places[decoded.labels])


def decode_folder(
    index: Index, spec: InputSpec, cache: Path, console: Console, *, however_few: bool = False
) -> DecodedImages:
    """`decode_all` with a bar that shows how far it is."""
    bar = Progress(
        TextColumn("decoding"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} images"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("decoding", total=len(index.paths))
        advance = partial(bar.advance, task)
        decoded = decode_all(index, spec, cache, on_progress=advance, however_few=however_few)
        bar.update(task, completed=len(index.paths))
    return decoded


def resolve(source: str, cache: Path) -> Path:
    """The folder that the images of a data set lie in, which is in the cache for an archive and for a named data set.

    Raises:
        BadData: the cache lies in it, and would be taken for images.
        BadArchive: it cannot be unpacked.
    """
    place = locate(source, cache)
    return unpacked(place, cache) if is_archive(place) else place


def locate(source: str, cache: Path) -> Path:
    """A named data set's folder, or the path itself, of a folder or an archive.

    Raises:
        BadData: the cache lies in it, and would be taken for images.
    """
    if source in DATA_SETS:
        return folder_of(source, cache)
    place = expanded(source).resolve()
    check_apart(place, ("--cache", cache))
    return place
