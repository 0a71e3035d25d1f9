"""What an HTTP worker collects beside answering: the latest images, and those kept to be labelled."""

import logging
import random
from functools import partial
from pathlib import Path

import gevent
import numpy as np

from models.bundle.reference import most_probable
from service.config import Config
from service.feedback.disk import FeedbackDisk
from service.feedback.recent import Recent
from service.loops import repeat
from service.parsing.images import EncodedImage
from service.telemetry.metrics import KEPT
from service.telemetry.request_record import record

log = logging.getLogger(__name__)

EXPIRE_S = 600.0  # between looks for kept images whose time is over
TOP = 5
DAY_S = 86_400.0


class Collector:
    """Collects nothing if SERVICE_FEEDBACK is empty."""

    recent: Recent | None  # the latest images

    def __init__(self, config: Config, disk: FeedbackDisk, runtime: Path) -> None:
        self._config = config
        self._disk = disk
        self.recent = Recent(runtime, max_bytes=config.recent_bytes) if config.feedback else None
        self._keeping = bool(config.feedback and config.keep)
        if config.feedback:
            gevent.spawn(repeat, self._expire, every_s=EXPIRE_S)

    def note(
        self,
        model: str,
        version: int,
        class_names: tuple[str, ...],
        encoded: list[EncodedImage],
        probabilities: np.ndarray,
    ) -> None:
        """An answered request: remembered, and its images are kept if they are sampled and uncertain enough."""
        if self.recent is None:
            return
        self.recent.remember(record().request_id, model, [image.data for image in encoded])
        if not self._keeping or random.random() >= self._config.keep:
            return
        for image, row in zip(encoded, probabilities, strict=True):
            if row.max() < self._config.keep_below or self._config.keep_below >= 1:
                top = [(class_names[i], float(row[i])) for i in most_probable(row, TOP)]
                keep = partial(self._disk.store(model).keep, image.data, version, record().request_id, top)
                gevent.spawn(self._keep, model, keep)

    def _keep(self, model: str, keep: partial[bool]) -> None:
        kept = False
        try:
            kept = not self._disk.is_busy and self._disk.work(keep)
        except OSError as error:
            log.error("an image could not be kept: %s", error)
        KEPT.labels(model, "kept" if kept else "dropped").inc()

    def _expire(self) -> None:
        """Delete kept images whose time is over."""
        try:
            self._disk.work(self._delete_old)
        except FileNotFoundError:  # nothing has come in yet
            pass
        except OSError as error:
            log.error("kept images could not be looked through: %s", error)

    def _delete_old(self) -> None:
        for home in sorted(Path(self._config.feedback).iterdir()):
            gone = self._disk.store(home.name).expire(self._config.keep_days * DAY_S) if home.is_dir() else 0
            if gone:
                log.info("%s: %d files of kept images were deleted, being too old", home.name, gone)
