"""Loads a model at low CPU priority while another model serves requests."""

import contextlib
import os
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import TypeVar

LOWEST = 19  # nice; a process may lower its priority but not raise it again, and so may each of its threads

REST = 3  # times as long as what was done with full priority

T = TypeVar("T")


def give_way(pid: int = 0) -> None:
    """Have a process, or the thread that calls (0), and all threads that it starts, run in idle time only, for good."""
    with contextlib.suppress(OSError):  # gone, or a container forbids the one or the other
        os.setpriority(os.PRIO_PROCESS, pid, LOWEST)
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def in_idle_time(work: Callable[[], T]) -> T:
    """Run `work` in a thread that gives way to all others; the thread that calls keeps its priority."""
    return in_thread(give_way, work)


def in_thread(prepare: Callable[[], None], work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, which has prepared itself; it raises what `work` raises.

    A pool of `concurrent.futures` would do the same, and would cost 6 ms to import.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            prepare()
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class Pace:
    """At once where nobody is served yet, or this process runs in idle time anyway; else considerately."""

    def __init__(self, *, considerate: bool, has_idle_time: bool = False, least_times: int = 1) -> None:
        self.considerate = considerate  # somebody is served meanwhile
        # in idle time, if there is some; the lowest priority is a share of the time, if a small one
        self._lower = give_way if has_idle_time else partial(os.setpriority, os.PRIO_PROCESS, 0, LOWEST)
        self.least_times = least_times  # that a batch is computed to know how long it takes

    def at_low_priority(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread of low priority; threads that it starts keep that priority."""
        if not self.considerate:
            return work()
        return in_thread(self._lower, work)

    def timed(self, work: Callable[[], T]) -> tuple[float, T]:
        """Run `work` with full priority, then rest. Returns the seconds that it took, and its result."""
        started = time.monotonic()
        result = work()
        seconds = time.monotonic() - started
        if self.considerate:
            time.sleep(REST * seconds)
        return seconds, result


AT_ONCE = Pace(considerate=False)
IN_IDLE_TIME = Pace(considerate=False, least_times=5)  # others disturb a measurement, and are not disturbed
