"""Tells when files of a folder are replaced: the kernel's inotify (inotify(7)), with no poll in between."""

import ctypes
import os
import sys
from pathlib import Path

MOVED_TO = 0x80
NONBLOCK, CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC


def watch(folder: Path) -> int | None:
    """A descriptor that is readable once a file was renamed into the folder; None where the system gives none."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    descriptor: int = library.inotify_init1(NONBLOCK | CLOEXEC)
    if descriptor < 0:
        return None
    if library.inotify_add_watch(descriptor, os.fsencode(folder), MOVED_TO) < 0:
        os.close(descriptor)
        return None
    return descriptor


def forget(descriptor: int) -> None:
    """Read what was told, so that the descriptor is readable only after the next file."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass
