"""Which folders of a data set are its classes and which are its splits, or why that cannot be told.

A folder is split already if it has one for training that has class folders in it, and beside it one for validation or
testing. The usual names are known: train, Training, training_set, seg_train, train_images, val, valid, dev, test2017.
"""

from collections.abc import Iterable
from pathlib import Path, PurePath

from models.errors import UserError
from models.files.folders import Note, list_folder, subfolders
from training.sources.split_names import split_in, split_of

TABLES = {".csv", ".tsv", ".xls", ".xlsx", ".parquet"}
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"}
IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
MAX_SHOWN = 5  # names in a sentence

ClassFolders = dict[tuple[str, str], list[Path]]  # by split and folder name; two folders may be of one split

LAYOUTS = (
    "Give a folder with a folder of images for each class (PATH/<class>/<image>), or one that is split already "
    "(PATH/train/<class>/<image>, and val or test beside train)."
)
NO_TABLES = "Without --labels tables are not read: an image's class is the name of its folder."


class BadData(UserError):
    """A folder that cannot be trained on as it is; says what is wrong and what to do."""


def find_class_folders(root: Path, note: Note) -> ClassFolders:
    """The class folders of a data set, empty ones included.

    Args:
        note: is called with what else there is.

    Raises:
        BadData: its folders look like splits, or like folders that contain the classes.
    """
    folders = subfolders(root, note)
    splits = find_splits(folders)
    used = {folder for split_roots in splits.values() for folder in split_roots}
    for folder in folders if splits else []:
        if folder not in used:
            has_none = split_of(folder.name) != ""
            note(str(folder), "a split without class folders" if has_none else "a folder that is none of the splits")
    found: ClassFolders = {}
    for split, split_roots in (splits or {"": [root]}).items():
        for folder in (folder for split_root in split_roots for folder in subfolders(split_root, note)):
            found.setdefault((split, folder.name), []).append(folder)
    check_are_classes(root, [folder for same in found.values() for folder in same])
    return found


def find_splits(folders: list[Path]) -> dict[str, list[Path]]:
    """{"train": [...], ...}, the folders that hold the class folders; {} where the data set is not split."""
    named = [folder for folder in folders if split_of(folder.name)]
    splits: dict[str, list[Path]] = {}
    for folder in named:
        if subfolders(folder):
            splits.setdefault(split_of(folder.name), []).append(folder)
    return splits if "train" in splits and len({split_of(folder.name) for folder in named}) > 1 else {}


def note_files(root: Path, note: Note) -> None:
    """Say which images and tables lie beside the class folders, or beside the splits, and are not read."""
    files = list_folder(str(root))[0]
    num_images = len(of_kind(files, IMAGES))
    if num_images:
        note(str(root / "*"), f"{num_images:,} images that lie in no class folder")
    for table in of_kind(files, TABLES):
        note(table, "a table, which is not read without --labels")


def check_are_classes(root: Path, folders: list[Path]) -> None:
    names = list(dict.fromkeys(folder.name for folder in folders))
    if len(names) < 2:
        return
    mentioned = {split_in(name) for name in names}
    if all(map(split_of, names)) or ("" not in mentioned and len(mentioned) > 1):
        raise BadData(
            f"The classes of {root} would be {listed(names)}, but these are named like parts of a data set, and none "
            f"of them is a part for training that has class folders in it. {LAYOUTS}{about_tables(root)}"
        )
    for folder in folders:
        inner = [path.name for path in subfolders(folder)] if split_of(folder.name) else []
        if inner:
            raise BadData(
                f"The classes of {root} would be {listed(names)}, but {folder.name} is named like a part of a data set "
                f"and has folders itself ({listed(inner)}). {LAYOUTS} If it is a class, rename it."
            )
    same = same_subfolders(folders)
    if same:
        raise BadData(
            f"The classes of {root} would be {listed(names)}, but all of these have the same folders in them "
            f"({listed(same)}), as if those were the classes. {LAYOUTS} If they are the classes, move their images "
            "out of the folders in them."
        )


def same_subfolders(folders: list[Path]) -> list[str]:
    """The names of two or more folders that every one of these has in it, beside no image; [] where they differ."""
    same: list[str] = []
    for i, folder in enumerate(folders):
        files, inner = list_folder(str(folder))
        names = [PurePath(path).name for path in inner]
        if len(names) < 2 or of_kind(files, IMAGES) or (i > 0 and names != same):
            return []
        same = names
    return same


def check_is_folder(root: Path) -> None:
    """
    Raises:
        BadData: it is missing, or a file; says what to do with it.
    """
    if root.is_dir():
        return
    if not root.is_file():
        raise BadData(f"{root} is no folder. {LAYOUTS}")
    if root.suffix.lower() in ARCHIVES:
        raise BadData(
            f"{root} is an archive that is not read here. Unpack it, and give the folder that it unpacks to. {LAYOUTS}"
        )
    if root.suffix.lower() in TABLES:
        raise BadData(f"{root} is a table. Give the folder of the images, and the table with --labels {root}.")
    raise BadData(f"{root} is a file. {LAYOUTS}")


def check_classes(root: Path, class_names: tuple[str, ...], left_out: dict[str, str]) -> None:
    """
    Raises:
        BadData: there are fewer than two classes with files in them; says what there is instead.
    """
    others = [f"{path} ({reason})" for path, reason in left_out.items()]
    about = f"{f' Left out: {listed(others)}.' if others else ''} {LAYOUTS}{about_tables(root)}"
    if not class_names:
        raise BadData(f"{root} has no folder with files in it{what_lies_in(root)}.{about}")
    if len(class_names) == 1:
        (name,) = class_names
        inner = [folder.name for path in subfolders(root) if path.name == name for folder in subfolders(path)]
        hint = f" It has folders itself ({listed(inner)}); is it {root / name} you mean?" if inner else ""
        raise BadData(f"{root} has one class only, {name!r}.{hint}{about}")


def what_lies_in(root: Path) -> str:
    """The files that lie where class folders are expected, as the end of a sentence."""
    files = list_folder(str(root))[0]
    archives, images = of_kind(files, ARCHIVES), of_kind(files, IMAGES)
    if images:
        return f", but {len(images):,} images that are not sorted by class ({names_of(images)})"
    if archives:
        return f", but the archive {names_of(archives)}: give that to --data (zip or tar), or unpack it first"
    return f", but {len(files):,} files ({names_of(files)})" if files else ""


def about_tables(root: Path) -> str:
    tables = of_kind(list_folder(str(root))[0], TABLES)
    return f" There is the table {names_of(tables)}. {NO_TABLES}" if tables else ""


def of_kind(files: Iterable[str], suffixes: set[str]) -> list[str]:
    return [file for file in files if PurePath(file).suffix.lower() in suffixes]


def names_of(paths: list[str]) -> str:
    return listed([PurePath(path).name for path in paths])


def listed(names: list[str]) -> str:
    """A few names for a sentence."""
    return ", ".join(names[:MAX_SHOWN]) + (f" and {len(names) - MAX_SHOWN:,} more" if len(names) > MAX_SHOWN else "")
