"""Index of a data set: the paths, classes and splits of a folder with one folder per class.

    PATH/<class>/**/<image>                     the split is made by content (training.data.split)
    PATH/{train,val,test}/<class>/**/<image>    the split is the folder's own; what is missing is made

Any file is taken for an image until decoding says otherwise, whatever its extension. Which folders are classes is in
`training.data.layout`, what is followed and what is passed over in `models.files.folders`. Where a table names the
classes, `training.data.table_index` makes the same index.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from models.bundle.class_names import BadClassName, check_class_name
from models.files.folders import Note, expanded, files_below, is_passed_over, subfolders
from training.data.layout import BadData, ClassFolders, check_classes, check_is_folder, find_class_folders, note_files
from training.data.path_table import Paths

Listing = dict[tuple[str, str], Paths]  # files by split and class
SPLITS = ("", "train", "val", "test")  # "" is a folder that says nothing


@dataclass(frozen=True, slots=True)
class Index:
    """Every file of a data set, in an order that does not depend on the file system; about 70 bytes of memory a file.

    Attributes:
        class_names: in NFC, sorted by code point.
        paths: relative to the root.
        labels: int32 (N,), positions in `class_names`.
        splits: int8 (N,), positions in SPLITS: what its folder says.
        left_out: {path: reason} of folders, links and tables that are not read, relative to the root.
        groups: int32 (N,), the same number for images that have to be on one side of the split, -1 for those of no
            group; None where no groups were given.
        notes: sentences about how a table and groups were read.
        unlisted: images in the folder that the table does not name; missing: what it names that is no file.
    """

    root: Path
    class_names: tuple[str, ...]
    paths: Paths
    labels: np.ndarray
    splits: np.ndarray
    left_out: dict[str, str] = field(default_factory=dict)
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def index_folder(root: Path, more: Sequence[Path] = ()) -> Index:
    """Find the classes and their files; folders whose names differ only by their Unicode form are one class.

    Args:
        more: folders of further images, with a folder per class, which may be empty or missing yet. Paths are then
            relative to what all folders have in common.

    Raises:
        BadData: there is no such folder, or its classes cannot be told, or are fewer than two.
        UnreadableFolder: a folder in it cannot be listed.
    """
    check_is_folder(root)
    top = common_top(root, more)
    left_out: dict[str, str] = {}

    def note(path: str, reason: str) -> None:
        left_out[os.path.relpath(path, top)] = reason

    found = listing_of_folders(find_class_folders(root, note), more, top, note)
    check_classes(root, tuple(sorted({name for _, name in found})), left_out)
    note_files(root, note)
    return replace(assemble(top, found), left_out=left_out)


def common_top(root: Path, more: Sequence[Path]) -> Path:
    """The folder that paths are relative to.

    Raises:
        BadData: a folder of further images contains the data set, or lies in it.
    """
    for other in more:
        if other.is_relative_to(root) or root.is_relative_to(other):
            raise BadData(f"One of {other} and {root} contains the other; keep them in separate folders.")
    return Path(os.path.commonpath([root, *more]))


def listing_of_folders(found: ClassFolders, more: Sequence[Path], top: Path, note: Note) -> Listing:
    """The files of class folders, and of the class folders in `more`; paths are relative to `top`."""
    folders = by_class(found, [other for other in more if other.is_dir()])
    listing = {key: files_of(folders[key], top, note) for key in folders}
    return {key: paths for key, paths in listing.items() if paths}


def assemble(top: Path, listing: Listing) -> Index:
    """The index of files whose split and class are known."""
    class_names = tuple(sorted({name for _, name in listing}))
    found = {key: listing[key] for key in sorted(listing)}
    counts = [len(paths) for paths in found.values()]
    return Index(
        top,
        class_names,
        paths=Paths.joined(list(found.values())),
        labels=np.repeat(np.array([class_names.index(name) for _, name in found], np.int32), counts),
        splits=np.repeat(np.array([SPLITS.index(split) for split, _ in found], np.int8), counts),
    )


def by_class(found: ClassFolders, more: Iterable[Path]) -> ClassFolders:
    """All class folders by their split and the name of their class."""
    folders = [(split, folder) for (split, _), same in found.items() for folder in same]
    folders += [("", folder) for other in more for folder in subfolders(other)]
    classes: ClassFolders = {}
    for split, folder in folders:
        try:
            name = check_class_name(folder.name)
        except BadClassName as error:
            raise BadData(f"A folder in {folder.parent} cannot be a class. {error}") from None
        classes.setdefault((split, name), []).append(folder)
    return classes


def files_of(folders: list[Path], top: Path, note: Note) -> Paths:
    """The files of one class and split; a folder without any is noted."""
    several = [Paths.of(files_below(folder, top, note)) for folder in folders]
    for folder, paths in zip(folders, several, strict=True):
        if not paths:
            note(str(folder), "a class folder without any file")
    return Paths.joined(several)


def check_apart(data: Path, *written: tuple[str, Path]) -> None:
    """
    Args:
        written: settings that name a folder into which something is going to be written, and these folders.

    Raises:
        BadData: an output folder lies in the data folder, is not hidden, and would be read as images.
    """
    for setting, folder in written:
        target, root = expanded(folder).resolve(), data.resolve()
        if target.is_relative_to(root) and not any(map(is_passed_over, target.relative_to(root).parts)):
            where = "is" if target == root else "lies in"
            raise BadData(
                f"The folder {folder} of {setting} {where} the folder of images {data}: what is written there would be "
                f"taken for images of a class. Set {setting} to a folder outside of {data}."
            )
