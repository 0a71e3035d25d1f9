"""Who is computed together: whoever waits now, oldest first. Nobody waits for company."""

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service import wire


@dataclass(frozen=True, slots=True)
class Instance:
    """One image on its way through the engine.

    Attributes:
        sender: ZeroMQ identity of the HTTP worker that asked.
        deaths: engines that died with this image in flight.
        deadline: after which nobody waits for the answer; CLOCK_MONOTONIC, seconds.
        sent: when the worker sent it.
    """

    sender: bytes
    id: bytes
    deaths: int
    deadline: float
    sent: float
    pixels: bytes | memoryview


class Batcher:
    """Forms the batches that get most done.

    Args:
        seconds: that a batch takes, by its size; no others are computed, and size 1 is among them.
    """

    def __init__(self, seconds: Mapping[int, float]) -> None:
        self._seconds = dict(sorted(seconds.items()))
        self._waiting: deque[Instance] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, instance: Instance) -> None:
        self._waiting.append(instance)

    def discard(self, request_id: bytes) -> None:
        """Forget an image whose answer nobody waits for, if it still waits."""
        self._waiting = deque(instance for instance in self._waiting if instance.id != request_id)

    def next_batch(self) -> tuple[list[Instance], list[Instance]]:
        """(the next batch, those whose deadline passed while they waited); both may be empty.

        An image that was in flight when an engine died is computed alone, so that if it was the cause it takes
        nobody with it again.
        """
        now = time.monotonic()
        expired = [instance for instance in self._waiting if instance.deadline < now]
        if expired:
            self._waiting = deque(instance for instance in self._waiting if instance.deadline >= now)
        if not self._waiting:
            return [], expired
        innocent = 0
        while innocent < len(self._waiting) and not self._waiting[innocent].deaths:
            innocent += 1
        return [self._waiting.popleft() for _ in range(self.best_size(innocent))], expired

    def best_size(self, waiting: int) -> int:
        """How many of those that wait to take: what gets most images done a second, padding counted as waste."""
        done = {size: min(size, waiting) for size in self._seconds}
        best = max(self._seconds, key=lambda size: (done[size] / self._seconds[size], size))
        return max(1, done[best])

    def padded_size(self, num_images: int) -> int:
        """The smallest size that is computed and holds so many."""
        return min(size for size in self._seconds if size >= num_images)


def stack(batch: list[Instance], shape: tuple[int, int, int], size: int) -> np.ndarray:
    """uint8 (size, H, W, C), black where the batch has no more images."""
    padding = bytes((size - len(batch)) * math.prod(shape))
    pixels = b"".join([*(instance.pixels for instance in batch), padding])
    return np.frombuffer(pixels, np.uint8).reshape(size, *shape)


def read_instance(frames: list[bytes]) -> Instance | None:
    """A message as it came off the socket; None where it is none of ours."""
    if len(frames) != 2 or len(frames[1]) < wire.REQUEST.size:
        return None
    sender, request = frames
    request_id, deaths, deadline, sent = wire.REQUEST.unpack_from(request)
    return Instance(sender, request_id, deaths, deadline, sent, memoryview(request)[wire.REQUEST.size :])


def is_cancellation(frames: list[bytes]) -> bool:
    return len(frames) == 2 and len(frames[1]) == wire.ID_BYTES
