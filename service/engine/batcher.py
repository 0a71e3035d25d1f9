"""Forms batches from the queued images, oldest first. There is no batching delay."""

import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from service.engine.batch_sizes import BatchSizes
from service.ipc import messages


@dataclass(frozen=True, slots=True)
class Instance:
    """One image on its way through the engine."""

    sender: bytes  # ZeroMQ identity of the HTTP worker that asked
    id: bytes
    deaths: int  # engines that died while they computed this image
    deadline: float  # after which nobody waits for the answer; CLOCK_MONOTONIC, seconds
    sent: float  # when the worker sent it
    pixels: bytes | memoryview
    again: bool = False  # the batch it was in failed, and so it is computed once more, alone


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that are computed together, padded to `size`."""

    instances: list[Instance]
    size: int


class Batcher:
    """Forms the batches that get most done, of what waits."""

    def __init__(self, sizes: BatchSizes) -> None:
        self._sizes = sizes
        self._waiting: deque[Instance] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, instance: Instance) -> None:
        self._waiting.append(instance)

    def add_again(self, instances: Iterable[Instance]) -> None:
        """Have each of a batch that failed computed alone, before all others, since these have waited longest."""
        self._waiting.extendleft(replace(instance, again=True) for instance in reversed(list(instances)))

    def discard(self, request_id: bytes) -> None:
        """Forget an image whose answer nobody waits for, if it still waits."""
        self._waiting = deque(instance for instance in self._waiting if instance.id != request_id)

    def next_batch(self) -> tuple[Batch | None, list[Instance]]:
        """(the next batch, if anything waits; those whose deadline passed while they waited).

        An image that an engine died of, or that was in a batch that failed, is computed alone, so that if it was the
        cause it takes nobody with it again.
        """
        now = time.monotonic()
        expired = [instance for instance in self._waiting if instance.deadline < now]
        if expired:
            self._waiting = deque(instance for instance in self._waiting if instance.deadline >= now)
        if not self._waiting:
            return None, expired
        together = sum(1 for _ in takewhile(lambda instance: not (instance.again or instance.deaths), self._waiting))
        size = self._sizes.best(together) if together else 1
        return Batch([self._waiting.popleft() for _ in range(min(size, max(1, together)))], size), expired


def stack(batch: Batch, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 (size, H, W, C), black where the batch has no more images."""
    padding = bytes((batch.size - len(batch.instances)) * math.prod(shape))
    pixels = b"".join([*(instance.pixels for instance in batch.instances), padding])
    return np.frombuffer(pixels, np.uint8).reshape(batch.size, *shape)


def read_instance(frames: list[bytes]) -> Instance | None:
    """A message as it came off the socket; None where it is none of ours."""
    if len(frames) != 2 or len(frames[1]) < messages.REQUEST.size:
        return None
    sender, request = frames
    request_id, deaths, deadline, sent = messages.REQUEST.unpack_from(request)
    return Instance(sender, request_id, deaths, deadline, sent, memoryview(request)[messages.REQUEST.size :])


def is_cancellation(frames: list[bytes]) -> bool:
    return len(frames) == 2 and len(frames[1]) == messages.ID_BYTES
