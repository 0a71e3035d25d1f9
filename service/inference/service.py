"""What the views of every protocol share in one HTTP worker. A request to classify takes this way:

places in the queue -> the version that answers (targets) -> decoded images (decoding) -> its engine (engines)
-> the shadow version, if there is one (shadow) -> feedback's collector
"""

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import gevent
import numpy as np
from flask import current_app
from gevent.threadpool import ThreadPool

from service.config import Config
from service.errors import EngineGone, Unprocessable
from service.explain.explainer import Explainer
from service.feedback.collector import Collector
from service.feedback.disk import FeedbackDisk
from service.http.api_keys import Keys, Received
from service.http.disconnect import while_client_stays
from service.http.in_thread import in_thread
from service.http.key_limits import KeyLimits
from service.inference.decoding import Decoders
from service.inference.engines import Engines
from service.inference.health import Health
from service.inference.queue_limit import QueueLimit
from service.inference.shadow import Shadow
from service.inference.targets import Target, Targets
from service.ipc import messages
from service.ipc.counts import Counts, SharedCounts, column_of
from service.ipc.keys import Scope
from service.loops import repeat, when_replaced
from service.parsing.images import EncodedImage, check_count
from service.parsing.kinds import Kind
from service.placement.usage import Usage
from service.telemetry.drift import FOLDER as DRIFT_FOLDER
from service.telemetry.drift import drift_of
from service.telemetry.ledger import Ledger
from service.telemetry.metrics import Drift
from service.telemetry.remains import clear_up
from service.telemetry.request_record import Headers, record
from service.telemetry.tally import FLUSH_INTERVAL_S
from service.telemetry.tracing import tracer_for

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_WRITERS = 4  # models whose live pointers are changed at the same time; each may wait for a lock
COUNTED = messages.CONFIDENCE | messages.DRIFT
CLEAR_UP_INTERVAL_S = 5.0  # between looks for files of processes that have ended
READ_AGAIN_INTERVAL_S = 1.0  # between looks at what the supervisor writes, which tells of it, too
REPORT_INTERVAL_S = 0.05  # between updates of the gauge of waiting images


class Service:
    """
    Args:
        runtime: the private directory of the service.
        counts: of this worker among those of all; without them it is the only one.
    """

    def __init__(self, config: Config, runtime: Path, counts: Counts | None = None) -> None:
        self.config = config
        self.ledger = Ledger(tracer_for(config))
        # A single request may always have as many images as the settings allow.
        capacity = max(config.max_images, config.queue_capacity)
        usage = Usage(runtime)
        self.engines = Engines(runtime / "routes.json", capacity, usage)
        counts = counts or SharedCounts(1).claim()
        self.queue = QueueLimit(capacity, config.queue_bytes, counts, self._column_of)
        self.writers = ThreadPool(MAX_WRITERS)  # threads for the exports' disk
        self.readers = ThreadPool(1)
        self.targets = Targets(config, self.engines, usage)
        self.decoders = Decoders(config, runtime)
        self.explainer = Explainer(runtime / "explanations.lock")
        self._drift_folder = runtime / DRIFT_FOLDER
        self.shadow = Shadow(config, self.engines, self.queue)
        self.health = Health(config, self.engines)
        self.disk = FeedbackDisk(config)
        self.collector = Collector(config, self.disk, runtime)
        self._received_keys = Received(runtime)
        self._limits = KeyLimits(runtime)
        self._told = when_replaced(runtime, self._read_again)
        gevent.spawn(repeat, self._read_again, every_s=READ_AGAIN_INTERVAL_S)
        gevent.spawn(repeat, partial(self.ledger.flush, gevent.sleep), every_s=FLUSH_INTERVAL_S)
        gevent.spawn(repeat, lambda: self.queue.report(self.engines.routes.models), every_s=REPORT_INTERVAL_S)
        gevent.spawn(repeat, partial(in_thread, self.readers, clear_up, runtime), every_s=CLEAR_UP_INTERVAL_S)

    def _read_again(self) -> None:
        """What the supervisor may have written anew."""
        self.engines.reload()
        self._received_keys.reload()

    def _column_of(self, model: str) -> int:
        route = self.engines.routes.models.get(model)
        return column_of(route.number if route else 0)

    @property
    def keys(self) -> Keys:
        """API keys as they are now; the operator may change them while the service runs."""
        return self._received_keys.keys

    def authorise(self, headers: Headers, scope: Scope) -> None:
        """
        Raises:
            Unauthorized, Forbidden: as `Keys.check`.
        """
        key = self.keys.check(headers, scope)
        if key is not None:
            record().key = key

    def note(self, route: str, status: int) -> None:
        """The present request has its answer; `route` is its pattern."""
        answered = record()
        if answered.key is not None and answered.num_images and status < 500:
            self._limits.count(answered.key, answered.num_images)
        self.ledger.note(answered, route, status)

    @property
    def is_draining(self) -> bool:
        """It is to stop: who is answered now should not ask this service again."""
        return self.engines.routes.draining

    def drift(self) -> Drift:
        """How far the latest images of all workers are from those that each version was tested on."""
        return drift_of(self._drift_folder, self.engines.routes)

    def admit(self, name: str, version: int | None = None) -> None:
        """Refuse a request that would get no answer, before its body is read.

        Which version answers is chosen when the whole body is here, because another may be live by then.

        Raises:
            NotFound, NotReady, BadRequest: as `Targets.check`.
            Overloaded: too many images wait for the model already.
            TooManyRequests: the API key has had the images that it may have.
        """
        key = record().key
        if key is not None:
            self._limits.check(key)
        self.targets.check(name, version)
        self.queue.check(name)

    def parse(self, kind: Kind[T], body: bytes, *arguments: Any) -> T:
        """What a body says, parsed in a decoder process if it is large.

        Raises:
            ServiceError: it says nothing of the kind, or takes too long.
        """
        return self.decoders.parse(kind, body, arguments, self.targets.deadline())

    def classify(
        self, name: str, version: int | None, images: list[EncodedImage] | np.ndarray, *, timeout_s: float = math.inf
    ) -> tuple[Target, np.ndarray]:
        """The version that answered, and probabilities float32 (N, num_classes).

        Args:
            version: None for the live version, or the canary for its share of the requests.
            images: encoded, or uint8 (N, H, W, C) that the client has decoded.
            timeout_s: after which the client does not need an answer any more.

        Raises:
            ServiceError: for the first image that has no answer.
        """
        check_count(len(images), self.config.max_images)
        prepare: Callable[..., list[np.ndarray]] = self.decoders.decode if isinstance(images, list) else check_shape
        record().num_images = len(images)
        num_bytes = sum(len(image.data) for image in images) if isinstance(images, list) else images.nbytes
        with self.queue.hold(name, len(images), num_bytes), while_client_stays():
            target, decoded, probabilities = self._ask(name, version, timeout_s, lambda target: prepare(target, images))
        self.shadow.ask(target, decoded, probabilities)
        if isinstance(images, list) and target.route.task == "single_label":  # feedback is one label an image
            self.collector.note(target.name, target.version, target.route.class_names, images, probabilities)
        return target, probabilities

    def _ask(
        self, name: str, version: int | None, timeout_s: float, images_for: Callable[[Target], list[np.ndarray]]
    ) -> tuple[Target, list[np.ndarray], np.ndarray]:
        """The version that answered, the images as it takes them, and its probabilities."""
        while True:
            target = self.targets.choose(name, version, timeout_s)
            images = images_for(target)
            try:
                answers = self.engines.infer((name, target.version), images, target.deadline, counts=COUNTED)
            except EngineGone as gone:  # meanwhile; the routes name another version now, or there is an error
                log.info("%s version %d has no engine any more, another one is chosen: %s", name, target.version, gone)
                continue
            record().stages.append(("queue", answers.sent, answers.started))
            record().stages.append(("inference", answers.started, answers.done))
            record().out_of_distribution = answers.far
            return target, images, answers.probabilities


def service() -> Service:
    """The one of this worker."""
    found: Service = current_app.extensions["striate"]
    return found


def check_shape(target: Target, images: np.ndarray) -> list[np.ndarray]:
    if images.shape[1:] != target.spec.shape:
        wanted = "x".join(map(str, target.spec.shape))
        raise Unprocessable(f"The pixels are {images.shape}; {target.name} takes one or more images of {wanted}.")
    return list(images)
