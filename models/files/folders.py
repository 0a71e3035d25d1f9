"""The files below a folder: the one walk that training and bulk classification share.

Links are followed, each real folder is read once, and a link back to a folder above is passed over. So are hidden
files and what operating systems leave behind. A folder that cannot be listed is an error, since its files would
otherwise be missing without a word.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from models.errors import UserError

NOT_OURS = {  # in lower case: what macOS, Windows, ext4 and network storage put beside people's files
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("lost+found", "@eadir"),
}
NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # the errors of a link whose target is missing
Note = Callable[[str, str], None]  # is called with the path of what is left out, and the reason


class UnreadableFolder(OSError):
    """A folder that cannot be listed; the message names it."""


def expanded(path: str | Path) -> Path:
    """A path with its `~` replaced.

    Raises:
        UserError: it begins with the name of nobody, as `~photos/pets` where `~/photos/pets` was meant.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path} begins with ~ and an unknown user name; did you mean ~/{str(path)[1:]}?") from None


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left behind by an operating system."""
    return name.startswith(".") or name.lower() in NOT_OURS


def ignore(path: str, reason: str) -> None:
    """A Note for callers that need not know what is left out."""


def subfolders(folder: Path, note: Note = ignore) -> list[Path]:
    """The folders in a folder, and links to folders, sorted by name.

    Raises:
        UnreadableFolder: it cannot be listed.
    """
    above = {*above_of(folder), identity(folder)}
    found = []
    for path in list_folder(str(folder), note)[1]:
        if identity(path) in above:
            note(path, "a link to a folder that contains it")
        else:
            found.append(Path(path))
    return found


def files_below(folder: Path, root: Path, note: Note = ignore) -> Iterator[str]:
    """Regular files, however deep, as paths relative to `root`; the order does not depend on the file system.

    Raises:
        UnreadableFolder: the folder, or one below it, cannot be listed.
    """
    start = len(str(root).rstrip("/")) + 1
    seen = above_of(folder)
    waiting = [str(folder)]
    while waiting:
        here = waiting.pop()
        itself = identity(here)
        if itself is not None and itself in seen:
            note(here, "a link to a folder that contains it, or that was read already")
            continue
        files, folders = list_folder(here, note)
        yield from (path[start:] for path in files)
        waiting += reversed(folders)
        seen.add(itself)


def list_folder(folder: str, note: Note = ignore) -> tuple[list[str], list[str]]:
    """Paths of the files and of the folders in a folder, sorted by name; a link counts as what it leads to.

    Raises:
        UnreadableFolder: it cannot be listed.
    """
    files, folders = [], []
    try:
        with os.scandir(folder) as scanned:
            entries = sorted((entry for entry in scanned if not is_passed_over(entry.name)), key=lambda e: e.name)
        for entry in entries:
            if leads_nowhere(entry):
                note(entry.path, "a link that leads nowhere")
            elif entry.is_dir():
                folders.append(entry.path)
            elif entry.is_file():
                files.append(entry.path)
    except FileNotFoundError:  # somebody has just removed it
        return [], []
    except OSError as error:
        raise unreadable(error, folder) from error
    return files, folders


def leads_nowhere(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a link whose target is missing."""
    try:
        if entry.is_symlink():
            entry.stat()
    except OSError as error:
        if error.errno in NOWHERE:
            return True
        raise
    return False


def above_of(folder: Path) -> set[tuple[int, int] | None]:
    """The identities of all folders that contain a folder, by its path and by the path that its links lead to."""
    return {identity(path) for path in (*folder.absolute().parents, *folder.resolve().parents)}


def identity(path: str | Path) -> tuple[int, int] | None:
    """(device, inode), which identify a folder under any path; None if it was just removed.

    Raises:
        UnreadableFolder: this user may not look at it.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(error, path) from error
    return status.st_dev, status.st_ino


def unreadable(error: OSError, path: str | Path) -> UnreadableFolder:
    return UnreadableFolder(
        f"{error.filename or path} cannot be read ({error.strerror}). "
        "Give this user the right to read it, or move it elsewhere."
    )
