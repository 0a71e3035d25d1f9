"""A pipe that ends the wait of the supervisor's loop: signals and threads write to it."""

import contextlib
import os


class Wakeup:
    def __init__(self) -> None:
        self.readable, self.writable = os.pipe()  # the pipe's ends; neither blocks
        for descriptor in (self.readable, self.writable):
            os.set_blocking(descriptor, False)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full, so the loop wakes anyway
            os.write(self.writable, b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.readable, 4096):
                pass
