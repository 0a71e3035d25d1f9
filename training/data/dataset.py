"""The images of a folder or a named data set: found, decoded and split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

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

    def fingerprint(self) -> str:
        """One hash of the images that are on some side, with their labels."""
        return self.decoded.fingerprint(np.concatenate([self.split.train, self.split.val, self.split.test]))

    def is_further(self) -> np.ndarray:
        """bool (N,): the images of `more`."""
        beginnings = path_prefixes(self.root, self.more)
        return np.array([bool(beginnings) and path.startswith(beginnings) for path in self.decoded.paths], bool)


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a data set, before any of them is read."""

    source: str  # a folder, or the name of a data set, as somebody gave it
    index: Index
    more: tuple[Path, ...] = ()  # folders of further images

    @property
    def own(self) -> Sequence[str]:
        """The paths of the data set itself, without those of `more`."""
        others = path_prefixes(self.index.root, self.more)
        return [path for path in self.index.paths if not path.startswith(others)] if others else self.index.paths


def path_prefixes(root: Path, folders: Sequence[Path]) -> tuple[str, ...]:
    """Path prefixes, relative to `root`, of the images in these folders."""
    return tuple(f"{folder.relative_to(root)}/" for folder in folders)


def find_images(source: str, cache: Path, more: tuple[Path, ...] = ()) -> Found:
    """The images of a folder or a named data set, which is written into the cache where it is not there.

    Raises:
        BadData: there is no such folder, or its classes cannot be told.
    """
    return Found(source, index_folder(resolve(source, cache), more), more)


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
    audited = audit(decoded, found.index.left_out)
    if without is not None:
        decoded = without_empty_classes(decoded, without)
    split = split_by_content(decoded, fractions, memory=memory, without=without)
    return Data(found.source, found.index.root, decoded, audited, split, spec, fractions, found.more)


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
    """A named data set's folder, or the path itself.

    Raises:
        BadData: the cache lies in it, and would be taken for images.
    """
    if source in DATA_SETS:
        return folder_of(source, cache)
    root = expanded(source).resolve()
    check_apart(root, ("--cache", cache))
    return root
