"""The limit on images that wait: over all HTTP workers, and for each model, so that none takes another's share."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from service.errors import Overloaded, TooLarge
from service.ipc.counts import BYTES, Counts
from service.telemetry.metrics import WAITING

MEMORY = 0.9  # weight of the past in the running mean of durations


class QueueLimit:
    """
    Args:
        capacity: images of one model that may wait.
        max_bytes: of all images that wait, encoded.
        counts: of this worker.
        column_of: where the images of a model are counted.
    """

    def __init__(self, capacity: int, max_bytes: int, counts: Counts, column_of: Callable[[str], int]) -> None:
        self.capacity = capacity
        self._max_bytes = max_bytes
        self._counts = counts
        self._column_of = column_of
        self._own: Counter[str] = Counter()  # images of each model that wait in this worker
        self._mean_s: dict[str, float] = {}  # by model: time from `hold` to the answer

    def num_waiting(self, model: str) -> int:
        """In all workers."""
        return self._counts.total(self._column_of(model))

    @contextlib.contextmanager
    def hold(self, model: str, count: int, num_bytes: int = 0) -> Iterator[None]:
        """Places for `count` images, from before they are decoded until they are answered.

        Raises:
            Overloaded: there is no room now; says when to try again.
            TooLarge: so many images never have room.
        """
        self.check(model, count, num_bytes)
        column = self._column_of(model)
        self._add(model, column, count, num_bytes)
        began = time.monotonic()
        try:
            yield
            took_s = time.monotonic() - began
            self._mean_s[model] = MEMORY * self._mean_s.get(model, took_s) + (1 - MEMORY) * took_s
        finally:
            self._add(model, column, -count, -num_bytes)

    def check(self, model: str, count: int = 1, num_bytes: int = 0) -> None:
        """Raise what `hold` would raise, so that a request can be refused before its body is read."""
        if count > self.capacity:
            raise TooLarge(f"{count} images came, and {self.capacity} may wait here (SERVICE_QUEUE_CAPACITY).")
        waiting = self.num_waiting(model)
        soon = max(1, math.ceil(self._mean_s.get(model, 0.0)))  # the images that wait now are answered by then
        if waiting + count > self.capacity:
            raise Overloaded(
                f"{waiting} images of {model} are waiting already. Try again in {soon} s.", retry_after_s=soon
            )
        if num_bytes and self._counts.total(BYTES) + num_bytes > self._max_bytes:
            raise Overloaded(
                f"The images that wait take {self._max_bytes:,} bytes already (SERVICE_QUEUE_BYTES). "
                f"Try again in {soon} s.",
                retry_after_s=soon,
            )

    def report(self, models: Iterable[str]) -> None:
        """Set the gauge of waiting images for these models and for those that images wait for."""
        for model in {*models, *self._own}:
            WAITING.labels(model).set(self._own[model])

    def _add(self, model: str, column: int, count: int, num_bytes: int) -> None:
        self._own[model] += count
        self._counts.add(column, count)
        self._counts.add(BYTES, num_bytes)
