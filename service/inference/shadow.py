"""The shadow version: it is asked about the images that the live version has answered, and only metrics see it."""

import logging
import time

import gevent
import numpy as np

from models.bundle.reference import at_least
from service.config import Config
from service.errors import ServiceError
from service.inference.engines import Engines
from service.inference.queue_limit import QueueLimit
from service.inference.targets import Target
from service.ipc.routes import VersionRoute
from service.telemetry.metrics import SHADOW

log = logging.getLogger(__name__)

QUEUE_SHARE = 0.5  # of the queue's capacity; with more images waiting the shadow is not asked


class Shadow:
    """Asks the shadow after the live version's answer, in a greenlet of its own."""

    def __init__(self, config: Config, engines: Engines, queue: QueueLimit) -> None:
        self._config = config
        self._engines = engines
        self._queue = queue

    def ask(self, target: Target, images: list[np.ndarray], answered: np.ndarray) -> None:
        """
        Args:
            target: the version that answered; nothing is done unless it is the live one and there is a shadow.
            images: uint8 (H, W, C), as `target` takes them.
            answered: its probabilities, float32 (N, num_classes).
        """
        model = self._engines.routes.models.get(target.name)
        number = model.labels.get("shadow") if model else None
        if model is None or number is None or target.version != model.live:
            return
        route = model.versions.get(number)
        if route is None or route.state != "available":
            return
        count = self._queue.num_waiting(target.name) + len(images)
        if count > QUEUE_SHARE * self._queue.capacity or route.input_spec != target.spec:
            SHADOW.labels(target.name, str(number), "skipped").inc(len(images))
            return
        said = [labels_of(target.route, row) for row in answered]
        gevent.spawn(self._compare, (target.name, number), images, said, route)

    def _compare(
        self, shadow: tuple[str, int], images: list[np.ndarray], said: list[set[str]], route: VersionRoute
    ) -> None:
        name, number = shadow
        try:
            with self._queue.hold(name, len(images)):
                answers = self._engines.infer(shadow, images, time.monotonic() + self._config.deadline_s)
        except ServiceError as error:
            log.info("the shadow %s version %d did not answer: %s", name, number, error)
            SHADOW.labels(name, str(number), "failed").inc(len(images))
            return
        for labels, row in zip(said, answers.probabilities, strict=True):
            SHADOW.labels(name, str(number), "agrees" if labels == labels_of(route, row) else "differs").inc()


def labels_of(route: VersionRoute, row: np.ndarray) -> set[str]:
    """What a version says of an image: its most probable class, or any number of labels."""
    chosen = at_least(row, route.threshold) if route.task == "multi_label" else [int(row.argmax())]
    return {route.class_names[i] for i in chosen}
