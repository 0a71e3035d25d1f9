"""Index of a data set: the paths, classes and splits of a folder with one folder per class.

    PATH/<class>/**/<image>                     the split is made by content (training.data.split)
    PATH/{train,val,test}/<class>/**/<image>    the split is the folder's own; what is missing is made

Any file is taken for an image until decoding says otherwise, whatever its extension. Which folders are classes is in
`training.data.layout`, what is followed and what is passed over in `models.files.folders`.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.bundle.class_names import BadClassName, check_class_name
from models.files.folders import Note, expanded, files_below, is_passed_over, subfolders
from training.data.layout import BadData, ClassFolders, check_classes, check_is_folder, find_class_folders, note_files
from training.data.path_table import Paths

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
    """

    root: Path
    class_names: tuple[str, ...]
    paths: Paths
    labels: np.ndarray
    splits: np.ndarray
    left_out: dict[str, str] = field(default_factory=dict)


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
    for other in more:
        if other.is_relative_to(root) or root.is_relative_to(other):
            raise BadData(f"One of {other} and {root} contains the other; keep them in separate folders.")
    top = Path(os.path.commonpath([root, *more]))
    left_out: dict[str, str] = {}

    def note(path: str, reason: str) -> None:
        left_out[os.path.relpath(path, top)] = reason

    folders = by_class(find_class_folders(root, note), [other for other in more if other.is_dir()])
    found = {key: files_of(folders[key], top, note) for key in sorted(folders)}
    found = {key: paths for key, paths in found.items() if paths}
    class_names = tuple(sorted({name for _, name in found}))
    check_classes(root, class_names, left_out)
    note_files(root, note)
    counts = [len(paths) for paths in found.values()]
    return Index(
        top,
        class_names,
        paths=Paths.joined(list(found.values())),
        labels=np.repeat(np.array([class_names.index(name) for _, name in found], np.int32), counts),
        splits=np.repeat(np.array([SPLITS.index(split) for split, _ in found], np.int8), counts),
        left_out=left_out,
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
