"""The private directory of a running service: sockets, routes.json, metrics.

It is in memory, where a full disk cannot reach it, or in the folder for temporary files where /dev/shm is read-only,
full or missing. Containers may share /dev/shm and have process numbers of their own, so a lock says whose service
runs: it is held for the supervisor's life, and freed by the kernel.
"""

import contextlib
import logging
import os
import resource
import shutil
import tempfile
from pathlib import Path

from models.files.locks import locked, take_lock

log = logging.getLogger(__name__)

MEMORY = Path("/dev/shm")
PREFIX, LOCK = "striate-", "lock"
STARTING = ".striate-starting-"  # its lock is not held yet
ROOM_BYTES = 16_000_000  # more than routes.json, metrics and counts of many processes take


class RuntimeDirectory:
    """Made when the service starts, and removed when it ends.

    Raises:
        OSError: there is no place for it.
    """

    def __init__(self) -> None:
        try:
            self.path, self._lock = make_locked(MEMORY)  # the directory (0700)
        except OSError as error:
            self.path, self._lock = make_locked(Path(tempfile.gettempdir()))
            log.warning(
                "%s cannot be used (%s): sockets, routes and metrics are in %s, on a disk that should not fill up",
                *(MEMORY, error.strerror, self.path),
            )

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def make_locked(home: Path) -> tuple[Path, int]:
    """A new directory in `home`, and the open file that holds its lock; those of dead supervisors are removed."""
    remove_abandoned(home)
    starting, lock = Path(tempfile.mkdtemp(prefix=STARTING, dir=home)), None
    try:
        lock = take_lock(starting / LOCK, wait=False)
        assert lock is not None  # nobody else knows it
        check_room(starting)
        path = home / f"{PREFIX}{os.getpid()}-{starting.name.removeprefix(STARTING)}"
        starting.rename(path)
    except BaseException:
        shutil.rmtree(starting, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        raise
    return path, lock


def check_room(folder: Path) -> None:
    """
    Raises:
        OSError: what a service writes there does not fit; a write to a mapped file would end the process instead.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, ROOM_BYTES)


def remove_abandoned(home: Path) -> None:
    """Remove directories whose lock is free: their supervisors are dead, in whichever container they were."""
    for path in [*home.glob(f"{PREFIX}*"), *home.glob(f"{STARTING}*")]:
        with contextlib.suppress(OSError):  # another user's, or gone just now
            if (path / LOCK).is_file():
                with locked(path / LOCK, wait=False) as is_free:
                    if is_free:
                        shutil.rmtree(path, ignore_errors=True)


def raise_file_limit() -> None:
    """Allow as many open files as the system does; every connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
