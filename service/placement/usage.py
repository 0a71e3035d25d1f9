"""When each model was asked last: a file in the private directory that HTTP workers write and the supervisor reads."""

import mmap
import os
import struct
import time
from pathlib import Path

FILE = "asked"
ROWS = 4096  # models; of more, some share a row, and are taken to be asked together
TIME = struct.Struct("d")  # seconds of CLOCK_MONOTONIC; 0: never


class Usage:
    """
    Args:
        runtime: the private directory of the service.
    """

    def __init__(self, runtime: Path) -> None:
        file = os.open(runtime / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, ROWS * TIME.size)
            self._times = mmap.mmap(file, ROWS * TIME.size)
        finally:
            os.close(file)

    def note(self, model: int) -> None:
        """A model is asked now.

        Args:
            model: its number in the routes.
        """
        TIME.pack_into(self._times, model % ROWS * TIME.size, time.monotonic())

    def last(self, model: int) -> float:
        """When it was asked last, in seconds of CLOCK_MONOTONIC; 0: never."""
        asked: float = TIME.unpack_from(self._times, model % ROWS * TIME.size)[0]
        return asked
