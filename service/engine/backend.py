"""What an engine asks of whatever computes its model; called from one thread."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from service.engine.pace import Pace

# Inputs of a signature by their names -> its outputs by theirs, of whatever types they are.
Tensors = Callable[[dict[str, np.ndarray]], dict[str, Any]]

ENOUGH_S = 0.003  # of batches of a size, to know how long one takes: the quickest, since others disturb


class Backend(ABC):
    """A model that is loaded."""

    precision: str  # in which it computes
    threads: int  # that compute one batch; 0 on a GPU
    in_flight = 1  # batches that may be started before the first of them is finished
    takes_any_size = False  # whether the first batch of a size takes hardly longer than the second
    has_one_setting = False  # whether loading a model in another precision changes those that are loaded

    @abstractmethod
    def start(self, images: np.ndarray) -> Any:
        """uint8 (N, H, W, C), left alone until `finish` -> whatever `finish` wants."""

    @abstractmethod
    def finish(self, started: Any) -> np.ndarray:
        """Float32 (N, num_classes), of the batch that was started first."""

    @staticmethod
    def get_ready() -> Any:
        """Load what any model needs. Native libraries stay loaded for as long as what is returned is kept."""
        return None

    @staticmethod
    def hold_threads() -> None:
        """Start no threads that compute until they are released, where they would keep the priority of their parent."""
        return

    @staticmethod
    def release_threads() -> None:
        """After that, threads start with the priority of the thread that computes the first batch."""
        return

    def features(self, started: Any) -> np.ndarray | None:
        """What the last dense layer took, float32 (N, F), of a batch that is finished; None where that is not known."""
        return None

    def threads_on(self, cores: int) -> int:
        """How many threads would compute one batch on so many cores; 0 on a GPU."""
        return cores if self.threads else 0

    def infer(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) -> float32 (N, num_classes)."""
        return self.finish(self.start(images))


def quickest(backend: Backend, images: np.ndarray, pace: Pace) -> float:
    """Seconds for a batch, once there has been one of its size; more of those that are soon done."""
    infer = partial(backend.infer, images)
    pace.timed(infer)
    times = [pace.timed(infer)[0]]
    while sum(times) < ENOUGH_S or len(times) < pace.least_times:
        times.append(pace.timed(infer)[0])
    return min(times)
