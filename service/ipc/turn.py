"""What is done one at a time in the whole service, whichever HTTP worker has it: heavy images, explanations."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import gevent

LOOK_S = 0.02  # between looks whether another worker has finished


class Turn:
    """A lock on a file, flock(2). The kernel releases it when the worker that has it ends, however that happens.

    Args:
        path: a file that all workers of a service have; None where there is but one.
    """

    def __init__(self, path: Path | None) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC  # a child that kept it open would keep the lock
        self._file = None if path is None else os.open(path, flags, 0o600)
        self._not_before = 0.0

    def take(self, deadline: float, is_given_up: Callable[[], bool]) -> bool:
        """Wait for it.

        Args:
            deadline: in seconds of CLOCK_MONOTONIC.
            is_given_up: whether nobody waits for what is to be done.

        Returns:
            Whether it was taken; else the deadline has passed, or it was given up.
        """
        if self._file is not None:  # the others look only now and then, and would hardly ever find it free
            gevent.sleep(max(0.0, self._not_before - time.monotonic()))
        while self._file is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline or is_given_up():
                    return False
                gevent.sleep(LOOK_S)
        return True

    def release(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._not_before = time.monotonic() + 2 * LOOK_S
