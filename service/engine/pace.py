"""Loads a model at low CPU priority while another model serves requests."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

LOWEST = 19  # nice; a process may lower its priority but not raise it again, and so may each of its threads

REST = 3  # times as long as what was done with full priority

T = TypeVar("T")


class Pace:
    """At once where nobody is served yet; else considerately."""

    def __init__(self, *, considerate: bool) -> None:
        self.considerate = considerate  # somebody is served meanwhile

    def at_low_priority(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread of the lowest priority; threads that it starts keep that priority."""
        if not self.considerate:
            return work()
        lower = partial(os.setpriority, os.PRIO_PROCESS, 0, LOWEST)  # of the thread that calls it
        with ThreadPoolExecutor(1, initializer=lower) as thread:
            return thread.submit(work).result()

    def timed(self, work: Callable[[], T]) -> tuple[float, T]:
        """Run `work` with full priority, then rest. Returns the seconds that it took, and its result."""
        started = time.monotonic()
        result = work()
        seconds = time.monotonic() - started
        if self.considerate:
            time.sleep(REST * seconds)
        return seconds, result


AT_ONCE = Pace(considerate=False)
