"""Work for the disk, done by a thread while a request waits for it: within a time, or not at all."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.threadpool import ThreadPool

from models.files.deadline import GivenUp, Turn

T = TypeVar("T")


def in_turn(threads: ThreadPool, action: Callable[[Turn], T], timeout_s: float) -> T:
    """What `action` returns. One that changes something begins its turn before it does.

    What has begun by the timeout is waited for: it cannot be taken back, so whoever asked is told what became of it.

    Raises:
        GivenUp: it did not begin in time, and never will.
    """
    turn, task = Turn(), None

    def attempt() -> T | None:
        with contextlib.suppress(GivenUp):  # nobody waits for the result then, and a thread's exceptions are printed
            turn.check()  # it may have waited for a thread until now
            return action(turn)
        return None

    try:
        with gevent.Timeout(timeout_s):
            task = threads.spawn(attempt)
            return task.get()
    except gevent.Timeout:
        if task is None or turn.give_up():
            raise GivenUp from None
    return task.get()
