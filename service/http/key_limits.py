"""Limits of API keys: images a second and images a day, counted over all HTTP workers of the service.

A file in the private directory, mapped by every worker, has a row for each name. The rate is limited as by the generic
cell rate algorithm (ITU-T I.371): a row has the time at which all images so far are paid for, at `rate` images a
second; a request is refused while that lies more than a burst ahead. Images are counted when the request is answered,
so requests in flight at the same time may go beyond a limit, and the next ones wait for that, too.
"""

import fcntl
import math
import mmap
import os
import struct
import time
from pathlib import Path

from service.errors import TooManyRequests
from service.http.api_keys import MOST_NAMES
from service.ipc.keys import Key

FILE = "key-limits"
ROW = struct.Struct("dqq")  # paid until, in seconds of CLOCK_MONOTONIC; day, in days of the epoch; images of that day
DAY_S = 86_400


class KeyLimits:
    """
    Args:
        runtime: the private directory of the service.
    """

    def __init__(self, runtime: Path) -> None:
        self._file = os.open(runtime / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, MOST_NAMES * ROW.size)
        self._rows = mmap.mmap(self._file, MOST_NAMES * ROW.size)

    def check(self, key: Key) -> None:
        """
        Raises:
            TooManyRequests: the key has had what it may have; says when to come again.
        """
        if not key.is_limited:
            return
        paid_until, day, used = ROW.unpack_from(self._rows, key.row * ROW.size)
        ahead_s = paid_until - time.monotonic() - (key.burst / key.rate if key.rate else math.inf)
        if key.rate and ahead_s > 0:
            raise TooManyRequests(
                f"{key.name} may send {key.rate:g} images a second, and has sent more. Try again later.",
                retry_after_s=math.ceil(ahead_s),
            )
        now = time.time()
        if key.quota and day == now // DAY_S and used >= key.quota:
            raise TooManyRequests(
                f"{key.name} may send {key.quota:,} images a day, and has. The next day begins at midnight, UTC.",
                code="quota_exceeded",
                retry_after_s=math.ceil(DAY_S - now % DAY_S),
            )

    def count(self, key: Key, num_images: int) -> None:
        """Images of this key were answered."""
        if not key.is_limited:
            return
        at, now, today = key.row * ROW.size, time.monotonic(), int(time.time() // DAY_S)
        fcntl.lockf(self._file, fcntl.LOCK_EX, ROW.size, at)
        try:
            paid_until, day, used = ROW.unpack_from(self._rows, at)
            cost_s = num_images / key.rate if key.rate else 0.0
            used = used + num_images if day == today else num_images
            ROW.pack_into(self._rows, at, max(now, paid_until) + cost_s, today, used)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, ROW.size, at)
