"""Statistics of the answers of a worker: confidence, and distance from the images that a model was tested on."""

import logging
import os
from pathlib import Path

import gevent
import numpy as np
from gevent.threadpool import ThreadPool

from service.http.in_thread import in_thread
from service.inference.targets import Target
from service.loops import repeat
from service.telemetry.drift import DriftMonitor
from service.telemetry.metrics import CONFIDENCE, FAR
from service.telemetry.request_record import record

log = logging.getLogger(__name__)

WRITE_INTERVAL_S = 1.0


class AnswerStatistics:
    """
    Args:
        folder: in which all workers write their counts, and read those of the others.
        threads: that write them; writing must not delay an answer.
    """

    def __init__(self, folder: Path, threads: ThreadPool) -> None:
        self._threads = threads
        self._monitor = DriftMonitor(folder, os.getpid())
        gevent.spawn(repeat, self._write, every_s=WRITE_INTERVAL_S)

    def observe(self, target: Target, images: list[np.ndarray], probabilities: np.ndarray) -> None:
        """Count an answer, and note in the request's record how unusual each image is.

        Args:
            images: uint8 (H, W, C).
            probabilities: float32 (N, num_classes).
        """
        observe_confidence(target.name, target.version, probabilities)
        route = target.route
        key = target.name, target.version
        far = self._monitor.observe(key, route.reference, route.class_names, np.stack(images), probabilities)
        record().out_of_distribution = far
        far_away = FAR.labels(target.name, str(target.version))
        for score in [] if far is None else far.tolist():
            far_away.observe(score)

    def _write(self) -> None:
        counts = self._monitor.changed_counts()  # copied here, where they are counted, and not in the thread
        if counts is None:
            return
        try:
            in_thread(self._threads, self._monitor.write, counts)
        except OSError as error:
            log.error("counts of drift could not be written: %s", error)


def observe_confidence(name: str, version: int, probabilities: np.ndarray) -> None:
    confidence = CONFIDENCE.labels(name, str(version))
    for share in probabilities.max(axis=1).tolist():
        confidence.observe(share)
