"""What an engine counts of its batches: durations, confidence, and drift from the held-out images.

All of it is computed for a whole batch at once, which costs hardly more than for one image.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from models.bundle.manifest import Manifest
from models.bundle.reference import describe, figures
from models.insight.familiarity import Familiarity, Seen
from service.engine.batcher import Batch
from service.ipc import messages
from service.telemetry.drift import Counts, DriftMonitor
from service.telemetry.metrics import BATCH_SIZE, CONFIDENCE, FAR, INFERENCE, LAST, QUEUE_WAIT
from service.telemetry.tally import FLUSH_INTERVAL_S, Tally

log = logging.getLogger(__name__)

DRIFT_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a model has computed of N images.

    Attributes:
        probabilities: float32 (N, num_classes).
        features: float32 (N, F), what its last dense layer took; None where that is not known.
        is_good: whether each image has an answer, bool (N,).
    """

    probabilities: np.ndarray
    features: np.ndarray | None
    is_good: np.ndarray


class Statistics:
    """
    Args:
        folder: in which the counts of drift are written.
    """

    def __init__(self, manifest: Manifest, familiarity: Familiarity | None, version: int, folder: Path) -> None:
        labels = (manifest.model, str(version))
        series = (QUEUE_WAIT, BATCH_SIZE, INFERENCE, CONFIDENCE, FAR)
        self._wait, self._size, self._duration, self._confidence, self._far = (s.labels(*labels) for s in series)
        self._last = LAST.labels(*labels)
        self._last_done = 0.0  # time of day
        self._tally = Tally()
        self._monitor: DriftMonitor | None = None
        # Drift is of the one class that an image has, and of how sure the model is of that.
        is_single = manifest.task == "single_label"
        self._familiarity = familiarity if is_single else None
        if manifest.reference is not None and is_single:
            target = (manifest.model, version)
            self._monitor = DriftMonitor(folder, target, manifest.reference, manifest.class_names)
        self.changed: SimpleQueue[Counts] = SimpleQueue()  # counts of drift, to be written by another thread
        self._next_drift = self._next_flush = time.monotonic()

    def far(self, batch: Batch, images: np.ndarray, result: Result) -> np.ndarray:
        """The share of held-out images that are more usual than each image, float (N,); NaN where it is not measured.

        Args:
            images: uint8 (size, H, W, C), of which the first N count.
        """
        found = np.full(len(batch.instances), np.nan)
        wanted = np.array([bool(instance.counts & messages.DRIFT) for instance in batch.instances]) & result.is_good
        if (self._monitor is None and self._familiarity is None) or not wanted.any():
            return found
        probabilities = result.probabilities[wanted]
        described = describe(images[: len(wanted)][wanted], probabilities)
        if self._monitor is not None:
            self._monitor.observe(described, probabilities)
        if self._familiarity is not None:
            features = None if result.features is None else result.features[wanted]
            found[wanted] = self._familiarity.rank(Seen(figures(described), probabilities, features))
        return found

    def count(
        self,
        batch: Batch,
        started: float,
        done: float,
        result: Result,
        far: np.ndarray,
    ) -> None:
        """
        Args:
            started, done: times by CLOCK_MONOTONIC.
            far: as `far` gives it.
        """
        tally, self._last_done = self._tally, time.time()
        tally.observe(self._size, len(batch.instances))
        tally.observe(self._duration, done - started)
        tally.observe_all(self._wait, [started - instance.sent for instance in batch.instances])
        counted = [bool(instance.counts & messages.CONFIDENCE) for instance in batch.instances]
        tally.observe_all(self._confidence, result.probabilities.max(axis=1)[result.is_good & counted].tolist())
        tally.observe_all(self._far, far[np.isfinite(far)].tolist())
        if done >= self._next_flush:
            self.flush()

    def flush(self) -> None:
        """Add what was counted to the metrics; to be called when nobody asks for a while, too."""
        now = time.monotonic()
        self._next_flush = now + FLUSH_INTERVAL_S
        self._tally.flush()
        if self._last_done:
            self._last.set(self._last_done)
        if now >= self._next_drift and self._monitor is not None:
            self._next_drift = now + DRIFT_INTERVAL_S
            changed = self._monitor.changed_counts()
            if changed is not None:
                self.changed.put(changed)

    def write_drift(self) -> None:
        """Write the counts that have changed; in a thread, because the folder may be slow."""
        while self._monitor is not None and not self.changed.empty():
            try:
                self._monitor.write(self.changed.get())
            except OSError as error:
                log.error("counts of drift could not be written: %s", error)
