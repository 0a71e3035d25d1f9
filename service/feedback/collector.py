"""What an HTTP worker collects beside answering: the latest images, and those kept to be labelled."""

import logging
import random
from pathlib import Path

import gevent
import numpy as np
from gevent.threadpool import ThreadPool

from models.bundle.reference import most_probable
from service.config import Config
from service.feedback.recent import Recent
from service.feedback.store import FeedbackStore
from service.http.images import EncodedImage
from service.http.in_thread import in_thread
from service.loops import repeat
from service.telemetry.metrics import KEPT
from service.telemetry.request_record import record

log = logging.getLogger(__name__)

MOST_WAITING = 100  # queued disk operations; beyond it, images are dropped instead of kept
EXPIRE_S = 600.0
TOP = 5
DAY_S = 86_400.0


class Collector:
    """Nothing of it where SERVICE_FEEDBACK names no folder."""

    def __init__(self, config: Config, runtime: Path) -> None:
        self._config = config
        self._stores: dict[str, FeedbackStore] = {}
        self.threads = ThreadPool(1)  # one, that waits for the disk
        self.recent = Recent(runtime, max_bytes=config.recent_bytes) if config.feedback else None  # the latest images
        self._keeping = bool(config.feedback and config.keep)
        self.num_waiting = 0  # things to be done there
        if config.feedback:
            gevent.spawn(repeat, self._expire, every_s=EXPIRE_S)

    def store(self, model: str) -> FeedbackStore | None:
        """Where a model's feedback goes."""
        if not self._config.feedback:
            return None
        if model not in self._stores:
            home = Path(self._config.feedback) / model
            self._stores[model] = FeedbackStore(home, max_bytes=self._config.feedback_bytes)
        return self._stores[model]

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
                self._keep(model, version, image.data, top)

    def _keep(self, model: str, version: int, data: bytes, top: list[tuple[str, float]]) -> None:
        if self.num_waiting >= MOST_WAITING:
            KEPT.labels(model, "dropped").inc()
            return
        self.num_waiting += 1
        store, request_id = self.store(model), record().request_id
        assert store is not None  # what keeps has a folder

        def write() -> None:
            kept = False
            try:
                kept = in_thread(self.threads, store.keep, data, version, request_id, top)
            except OSError as error:
                log.error("an image could not be kept: %s", error)
            finally:
                self.num_waiting -= 1
            KEPT.labels(model, "kept" if kept else "dropped").inc()

        gevent.spawn(write)

    def _expire(self) -> None:
        """Delete kept images whose time is over."""
        try:
            in_thread(self.threads, self._delete_old)
        except FileNotFoundError:  # nothing has come in yet
            pass
        except OSError as error:
            log.error("kept images could not be looked through: %s", error)

    def _delete_old(self) -> None:
        for home in sorted(Path(self._config.feedback).iterdir()):
            store = self.store(home.name) if home.is_dir() else None
            gone = store.expire(self._config.keep_days * DAY_S) if store else 0
            if gone:
                log.info("%s: %d files of kept images were deleted, being too old", home.name, gone)
