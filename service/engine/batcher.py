"""Forms batches from the queued images, oldest first. There is no batching delay."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice, takewhile

import numpy as np

from service.engine.batch_sizes import BatchSizes
from service.engine.workers import HttpWorker


@dataclass(frozen=True, slots=True)
class Instance:
    """One image on its way through the engine."""

    sender: HttpWorker
    id: int
    slot: int  # of the sender's arena, where the pixels are
    deaths: int  # engines that died while they computed this image
    counts: int  # in which statistics: service.ipc.messages.CONFIDENCE, DRIFT
    deadline: float  # after which nobody waits for the answer; CLOCK_MONOTONIC, seconds
    sent: float  # when the worker sent it
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

    def discard(self, sender: HttpWorker, number: int | None = None) -> None:
        """Forget an image whose answer nobody waits for, if it still waits; without a number, all of this worker."""
        self._waiting = deque(
            instance
            for instance in self._waiting
            if instance.sender is not sender or (number is not None and instance.id != number)
        )

    def next_batch(self) -> tuple[Batch | None, list[Instance]]:
        """(the next batch, if anything waits; those whose deadline passed while they waited).

        An image that an engine died of, or that was in a batch that failed, is computed alone, so that if it was the
        cause it takes nobody with it again.
        """
        now = time.monotonic()
        expired: list[Instance] = []
        while self._waiting and self._waiting[0].deadline < now:
            expired.append(self._waiting.popleft())
        if not self._waiting:
            return None, expired
        alike = takewhile(lambda instance: not (instance.again or instance.deaths), self._waiting)
        together = sum(1 for _ in islice(alike, self._sizes.largest))
        size = self._sizes.best(together) if together else 1
        return Batch([self._waiting.popleft() for _ in range(min(size, max(1, together)))], size), expired


def stack(batch: Batch, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 (size, H, W, C), copied out of the workers' slots; black where the batch has no more images."""
    images = np.empty((batch.size, *shape), np.uint8)
    for i, instance in enumerate(batch.instances):
        images[i] = instance.sender.slots[instance.slot]
    images[len(batch.instances) :] = 0
    return images
