"""Functions that a thread of a worker runs: what they return or raise reaches the greenlet that waits for them.

gevent prints every exception that leaves a function in its thread pools, even one that is handled where the result is
read. So no exception leaves a thread here: it is carried back as a value, and raised in the greenlet.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.threadpool import ThreadPool

from models.files.deadline import ChangeCancelled, PendingChange

T = TypeVar("T")


def start(threads: ThreadPool, action: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """Have a thread call `action`. Blocks while no thread is free.

    Returns:
        A function that waits for the call to end, and returns what `action` returned or raises what it raised.
    """

    def attempt() -> tuple[T | None, Exception | None]:
        try:
            return action(*arguments), None
        except Exception as error:
            return None, error

    task: Any = threads.spawn(attempt)

    def result() -> Any:
        nonlocal task
        value, error = task.get()
        task = None
        try:
            if error is not None:
                raise error
            return value
        finally:
            error = None  # else it and its traceback would keep each other, and the request's body, in memory

    return result


def in_thread(threads: ThreadPool, action: Callable[..., T], *arguments: Any) -> T:
    """Call `action` in a thread, and return what it returns or raise what it raises."""
    return start(threads, action, *arguments)()


def in_thread_within(threads: ThreadPool, action: Callable[[PendingChange], T], timeout_s: float) -> T:
    """Call `action` in a thread, within a time or not at all.

    An `action` that changes something calls `PendingChange.begin` first. Once it has begun it is waited for, however
    long it takes, because it cannot be undone: the caller has to learn the outcome.

    Raises:
        ChangeCancelled: `action` did not begin in time, and never will.
        Exception: whatever `action` raised.
    """
    pending, result = PendingChange(), None

    def attempt() -> T:
        pending.check()  # it may have waited for a thread until now
        return action(pending)

    try:
        with gevent.Timeout(timeout_s):
            result = start(threads, attempt)
            return result()
    except gevent.Timeout:
        if result is None or pending.cancel():
            raise ChangeCancelled from None
    return result()
