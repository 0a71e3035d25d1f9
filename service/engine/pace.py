"""Loads a model at low CPU priority while another model serves requests."""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from models.process.idle import LOWEST, give_way, in_thread

REST = 3  # times as long as what was done with full priority

T = TypeVar("T")


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
