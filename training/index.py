"""Which images there are and what they show: a folder with a folder per class.

    PATH/<class>/**/<image>                     the split is made by content (training.split)
    PATH/{train,val,test}/<class>/**/<image>    the split is the folder's own; what is missing is made

Any file is taken for an image until decoding says otherwise, whatever its extension. Hidden files and links to
directories are passed over.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import UserError
from training.paths import Paths

SPLITS = ("", "train", "val", "test")  # "" is a folder that says nothing
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class BadData(UserError):
    """A folder that cannot be trained on as it is; says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Index:
    """Every file of a data set, in an order that does not depend on the file system; about 70 bytes of memory a file.

    Attributes:
        paths: relative to the root.
        labels: int32 (N,), positions in `class_names`.
        splits: int8 (N,), positions in SPLITS: what its folder says.
    """

    root: Path
    class_names: tuple[str, ...]
    paths: Paths
    labels: np.ndarray
    splits: np.ndarray


def index_folder(root: Path, more: Sequence[Path] = ()) -> Index:
    """Find the classes and their files; classes are sorted by code point.

    Args:
        more: folders of further images, with a folder per class, which may be empty or missing yet. Paths are then
            relative to what all folders have in common.

    Raises:
        BadData: there is no such folder, or it has fewer than two classes with files in them.
    """
    if not root.is_dir():
        raise BadData(f"{root} is no folder. Give a folder that has a folder of images for each class.")
    for other in more:
        if other.is_relative_to(root) or root.is_relative_to(other):
            raise BadData(f"{other} and {root} lie in each other; keep further images elsewhere.")
    folders: dict[tuple[str, str], list[Path]] = {}  # by split and class; two folders may be of one split
    for split, split_roots in (find_split_roots(root) or {"": [root]}).items():
        for folder in (folder for split_root in split_roots for folder in subfolders(split_root)):
            folders.setdefault((split, folder.name), []).append(folder)
    for folder in (folder for other in more if other.is_dir() for folder in subfolders(other)):
        folders.setdefault(("", folder.name), []).append(folder)
    top = Path(os.path.commonpath([root, *more]))
    found = {
        key: Paths.of(path for folder in folders[key] for path in files_below(folder, top)) for key in sorted(folders)
    }
    found = {key: paths for key, paths in found.items() if paths}
    class_names = tuple(sorted({name for _, name in found}))
    check_classes(root, class_names)
    counts = [len(paths) for paths in found.values()]
    return Index(
        top,
        class_names,
        paths=Paths.joined(list(found.values())),
        labels=np.repeat(np.array([class_names.index(name) for _, name in found], np.int32), counts),
        splits=np.repeat(np.array([SPLITS.index(split) for split, _ in found], np.int8), counts),
    )


def find_split_roots(root: Path) -> dict[str, list[Path]] | None:
    """{"train": [...], ...} where the folder is split already: it has a `train` and nothing but splits."""
    folders = subfolders(root)
    names = {folder.name.lower() for folder in folders}
    if "train" not in names or len(names) < 2 or not names <= SPLIT_FOLDERS.keys():
        return None
    roots: dict[str, list[Path]] = {}
    for folder in folders:
        roots.setdefault(SPLIT_FOLDERS[folder.name.lower()], []).append(folder)
    return roots


def subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))


def files_below(folder: Path, root: Path) -> Iterator[str]:
    """Regular files, however deep, relative to the root; links to directories, which may be loops, are not followed."""
    above = len(str(root).rstrip("/")) + 1
    for directory, subdirectories, names in os.walk(folder):
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith("."))
        paths = (Path(directory, name) for name in sorted(names) if not name.startswith("."))
        yield from (str(path)[above:] for path in paths if path.is_file())


def check_classes(root: Path, class_names: tuple[str, ...]) -> None:
    wanted = "Give a folder that has a folder of images for each of two or more classes."
    if not class_names:
        raise BadData(f"{root} has no folder with files in it. {wanted}")
    if len(class_names) == 1:
        inner = [folder.name for folder in subfolders(root / class_names[0])][:3]
        hint = f" It has folders itself ({', '.join(inner)}); is it {root / class_names[0]} you mean?" if inner else ""
        raise BadData(f"{root} has one class only, {class_names[0]!r}.{hint} {wanted}")
    broken = [name for name in class_names if "\n" in name or "\r" in name or not name.isprintable()]
    if broken:
        raise BadData(f"The class folder {broken[0]!r} has a control character in its name. Rename it.")
