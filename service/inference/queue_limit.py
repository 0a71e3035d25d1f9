"""The limit on images that wait in one HTTP worker, counted for each model so that none takes another's share."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from service.errors import Overloaded, TooLarge
from service.telemetry.metrics import WAITING

MEMORY = 0.9  # weight of the past in the running mean of durations


class QueueLimit:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity  # images of one model that may wait in this worker
        self._num_waiting: Counter[str] = Counter()
        self._mean_s: dict[str, float] = {}  # by model: time from `hold` to the answer

    def num_waiting(self, model: str) -> int:
        return self._num_waiting[model]

    @contextlib.contextmanager
    def hold(self, model: str, count: int) -> Iterator[None]:
        """Places for `count` images, from before they are decoded until they are answered.

        Raises:
            Overloaded: there is no room now; says when to try again.
            TooLarge: so many images never have room.
        """
        self.check(model, count)
        self._num_waiting[model] += count
        began = time.monotonic()
        try:
            yield
            took_s = time.monotonic() - began
            self._mean_s[model] = MEMORY * self._mean_s.get(model, took_s) + (1 - MEMORY) * took_s
        finally:
            self._num_waiting[model] -= count

    def check(self, model: str, count: int = 1) -> None:
        """Raise what `hold` would raise, so that a request can be refused before its body is read."""
        if count > self.capacity:
            raise TooLarge(f"{count} images came, and {self.capacity} may wait here (SERVICE_QUEUE_CAPACITY).")
        if self.num_waiting(model) + count > self.capacity:
            soon = max(1, math.ceil(self._mean_s.get(model, 0.0)))  # the images that wait now are answered by then
            raise Overloaded(
                f"{self.num_waiting(model)} images of {model} are waiting already. Try again in {soon} s.",
                retry_after_s=soon,
            )

    def report(self, models: Iterable[str]) -> None:
        """Set the gauge of waiting images for these models and for those that images wait for."""
        for model in {*models, *self._num_waiting}:
            WAITING.labels(model).set(self._num_waiting[model])
