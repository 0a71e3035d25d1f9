"""Locks on files and folders, which the kernel frees when the process that holds one ends, however it ends."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from models.files.deadline import PendingChange

LOCK_INTERVAL_S = 0.02  # between two tries for a lock, by whoever may give up
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class LocksMissing(OSError):
    """The file system has no locks; the text names the folder and says what to do."""

    def __init__(self, number: int, folder: Path) -> None:
        super().__init__(number, os.strerror(number))
        self._folder = folder

    def __str__(self) -> str:
        return (
            f"The file system of {self._folder} has no file locks ({self.strerror}), without which two processes could "
            "write there at the same time. Use a folder on a local disk or on NFS version 4, or mount this one with "
            "locks (NFS version 3: start rpc.statd on the client, or mount with -o local_lock=flock)."
        )


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    folder: bool = False,
    wait: bool = True,
    shared: bool = False,
    pending: PendingChange | None = None,
) -> Iterator[bool]:
    """Hold the lock of a file, which is made where there is none, or of a folder, until the block ends.

    Args:
        folder: the path is a folder's.
        wait: whether to wait until the lock is free.
        shared: others may hold it too, if they ask for a shared one.
        pending: the change that the lock is taken for; it begins when the lock is held, and its cancellation ends the
            wait.

    Yields:
        Whether it was got, which it always is where `wait` is true.

    Raises:
        FileNotFoundError: there is no such folder, or others have removed it before its lock was taken.
        LocksMissing: the file system has none.
        ChangeCancelled: nobody waits for the change any more.
    """
    descriptor = take_lock(path, folder=folder, wait=wait, shared=shared, pending=pending)
    try:
        if pending is not None:
            pending.begin()
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def take_lock(
    path: Path, *, folder: bool = False, wait: bool, shared: bool = False, pending: PendingChange | None = None
) -> int | None:
    """An open file that holds the lock until it is closed; None where another process has it.

    Raises:
        FileNotFoundError: as `locked`.
        LocksMissing: the file system has none.
        ChangeCancelled: `pending` was cancelled while the lock was waited for.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_WRONLY | os.O_CREAT
    while True:
        with contextlib.ExitStack() as opened:
            descriptor = os.open(path, flags, 0o666)
            opened.callback(os.close, descriptor)
            if acquire(descriptor, path, wait=wait and pending is None, shared=shared):
                opened.pop_all()
                return descriptor
        if not wait:
            return None
        if pending is not None:
            pending.check()
            time.sleep(LOCK_INTERVAL_S)


def acquire(descriptor: int, path: Path, *, wait: bool, shared: bool) -> bool:
    """Whether an open file's lock is ours now, and the file is still the one at `path`: others may have removed it."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise LocksMissing(error.errno, path if path.is_dir() else path.parent) from error
        raise
