"""Files that survive a kill and a power cut: whoever reads sees all of the old or all of the new."""

import contextlib
import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # of a directory: SMB and some FUSE file systems
NO_CHMOD = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # SMB, FAT, some FUSE file systems


def write_durably(path: Path, text: str) -> None:
    """Replace a file's content in one step: readers see all of the old or all of the new."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_array(path: Path, array: np.ndarray) -> None:
    """A .npy file. (np.save leaves half a file on a full disk without a word: it does not look at what fclose says.)"""
    path.write_bytes(array_bytes(array))


def array_bytes(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path`, with its suffix, to be written; it takes the place of `path` when that went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, *suffixes = path.name.split(".", 1)
    descriptor, name = tempfile.mkstemp(prefix=f".{stem}-", suffix="".join(f".{s}" for s in suffixes), dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    chmod(temporary, 0o644)
    try:
        yield temporary
        fsync_path(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def fsync_tree(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        fsync_path(path)


def fsync_path(path: Path) -> None:
    """Flush a directory's entries, or a file's content, to the disk; some file systems cannot flush directories."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def chmod(path: Path, mode: int) -> None:
    """Set who may read a file or a directory; on a file system that has one mode for all, that mode stays."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in NO_CHMOD:
            raise


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
