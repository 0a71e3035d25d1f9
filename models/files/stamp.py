"""Whether a file has changed, told by its inode, its time and its size."""

from pathlib import Path

Stamp = tuple[int, int, int]  # of a file: another one where it was written anew or has grown
ABSENT: Stamp = (0, 0, 0)


def stamp_of(path: Path) -> Stamp:
    try:
        status = path.stat()
    except (OSError, ValueError):  # the latter for a name that no file can have
        return ABSENT
    return status.st_ino, status.st_mtime_ns, status.st_size
