"""What the views of every protocol share: which version answers, decoding, asking its engine, all within a deadline."""

import contextlib
import hashlib
import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gevent
import numpy as np
from flask import current_app, request
from gevent import Greenlet
from gevent.threadpool import ThreadPool

from models.bundle.preprocessing import BadImage, InputSpec, decode_image, is_tiny
from service.config import Config
from service.errors import (
    BadRequest,
    EngineGone,
    NotFound,
    NotReady,
    ServiceError,
    TooLarge,
    Unprocessable,
    from_bad_image,
)
from service.feedback.collector import Collector
from service.http.api_keys import Keys, Received
from service.http.disconnect import while_client_stays
from service.http.images import EncodedImage, hint_at_curl
from service.inference.engines import Engines, find_version
from service.ipc.routes import ModelRoute, VersionRoute
from service.loops import repeat
from service.telemetry.drift import FOLDER as DRIFT_FOLDER
from service.telemetry.drift import Counts, DriftMonitor, drift_of
from service.telemetry.metrics import CONFIDENCE, DECODE, FAR, SHADOW, Drift
from service.telemetry.remains import clear_up
from service.telemetry.request_record import record

log = logging.getLogger(__name__)

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
MOST_WRITERS = 4  # models whose pointers are changed at a time: one may wait for whoever is publishing it
DRIFT_S = 1.0  # between writings
CLEAR_UP_S = 5.0  # between looks for what processes that have ended left behind
SHADOW_SHARE = 0.5  # of the queue: what is asked for nobody's sake gives way to what is


@dataclass(frozen=True, slots=True)
class Target:
    """The version that answers a whole request, whatever goes live while it is computed."""

    name: str
    version: int
    route: VersionRoute
    deadline: float  # of CLOCK_MONOTONIC

    @property
    def spec(self) -> InputSpec:
        assert self.route.input_spec is not None  # find_version says so
        return self.route.input_spec


class Service:
    """What the views of one HTTP worker share."""

    def __init__(self, config: Config, engines: Engines, decoders: ThreadPool, keys: Received, runtime: Path) -> None:
        self.config = config
        self.engines = engines
        self._received = keys
        self.decoders = decoders
        self.writers = ThreadPool(MOST_WRITERS)  # of live pointers
        self.readers = ThreadPool(1)  # of what is published, and of counts that are written down
        self.collector = Collector(config, runtime)
        self.monitor = DriftMonitor(runtime / DRIFT_FOLDER, os.getpid())
        self._drift_folder = runtime / DRIFT_FOLDER
        gevent.spawn(repeat, self._note_drift, every_s=DRIFT_S)
        gevent.spawn(repeat, lambda: self.readers.spawn(clear_up, runtime).get(), every_s=CLEAR_UP_S)
        self.probes: dict[tuple[str, int], Greenlet] = {}  # the last image that asked each engine whether it answers

    @property
    def keys(self) -> Keys:
        """As they are now: the operator may change them while we run."""
        return self._received.keys

    def default_model(self) -> str:
        """
        Raises:
            NotFound, NotReady: none is, since there are several, or there is none.
        """
        routes = self.engines.routes
        names = ", ".join(routes.models)
        if not names:
            raise NotReady("No model is published yet.")
        if routes.default_model is None:
            raise NotFound(
                f"There are several models and no default: POST to /models/<name>/classify, name one of {names}."
            )
        if routes.default_model not in routes.models:
            raise NotFound(
                f"The default model, {routes.default_model}, is not published here: POST to /models/<name>/classify, "
                f"name one of {names}, or have the operator make one of them the default."
            )
        return routes.default_model

    def admit(self, name: str, version: int | None = None) -> None:
        """Before a body is read: refuse a request that would have no answer anyway.

        Which version answers is chosen when all of the body is here: that may take longer than a version lives.

        Raises:
            NotFound, NotReady: as `find_version`.
            Overloaded: too many images wait for the model already.
            BadRequest: the client's own timeout is none.
        """
        record().model, record().version = name, find_version(self.engines.routes, name, version)[0]
        self.engines.check_room(name)
        self._timeout_s()

    def find(self, name: str, version: int | None = None) -> Target:
        """The version named, else the live one, for who wants to know about it and asks it nothing.

        Raises:
            NotFound, NotReady: as `find_version`.
            BadRequest: the client's own timeout is none.
        """
        number, route = find_version(self.engines.routes, name, version)
        return Target(name, number, route, record().began + self._timeout_s())

    def classify(
        self, name: str, version: int | None, encoded: list[EncodedImage], *, timeout_s: float = math.inf
    ) -> tuple[Target, np.ndarray]:
        """What answered, and probabilities float32 (N, num_classes) of encoded images.

        Args:
            version: None: the live one, or for its share of the requests the canary.
            timeout_s: after which the client has no use for an answer.

        Raises:
            ServiceError: for the first that has no answer.
        """
        with self._answering(name, len(encoded)):
            chosen, images, probabilities = self._ask(
                name, version, timeout_s, lambda chosen: self._decode(chosen, encoded)
            )
        self._ask_shadow(chosen, images, probabilities)
        self.collector.note(chosen.name, chosen.version, chosen.route.class_names, encoded, probabilities)
        return chosen, probabilities

    def _ask(
        self, name: str, version: int | None, timeout_s: float, images_for: Callable[[Target], list[np.ndarray]]
    ) -> tuple[Target, list[np.ndarray], np.ndarray]:
        """What answered, the images as it takes them, and its probabilities."""
        while True:
            chosen = self._choose(name, version, timeout_s)
            images = images_for(chosen)
            try:
                return chosen, images, self._infer(chosen, images)
            except EngineGone as gone:  # meanwhile; what the routes say now is another version, or an error
                log.info("%s version %d is chosen no more: %s", name, chosen.version, gone)

    def _choose(self, name: str, version: int | None, timeout_s: float) -> Target:
        """The version named; else the live one, or for its share of the requests the canary."""
        routes = self.engines.routes
        model = routes.models.get(name)
        if version is None and model is not None:
            version = self._canary(model)
        number, route = find_version(routes, name, version)
        record().version = number
        return Target(name, number, route, record().began + min(self._timeout_s(), timeout_s))

    def _note_drift(self) -> None:
        """In a thread, since bookkeeping is to cost no answer; counts are copied here, where they are counted."""
        counts = self.monitor.changed_counts()
        if counts is not None:
            self.readers.spawn(self._write_drift, counts).get()

    def _write_drift(self, counts: Counts) -> None:
        """Runs in a thread, from which exceptions would be printed."""
        try:
            self.monitor.write(counts)
        except OSError as error:
            log.error("counts of drift could not be written: %s", error)

    def drift(self) -> Drift:
        """How far the latest images are from what each version was judged by, in all workers."""
        return drift_of(self._drift_folder, self.engines.routes)

    def classify_pixels(
        self, name: str, version: int | None, images: np.ndarray, *, timeout_s: float = math.inf
    ) -> tuple[Target, np.ndarray]:
        """As `classify`, for uint8 images (N, H, W, C) that somebody else has decoded.

        Raises:
            TooLarge: they are too many.
            Unprocessable: they have another shape.
            ServiceError: for the first that has no answer.
        """
        if len(images) > self.config.max_images:
            raise TooLarge(f"{len(images)} images came; at most {self.config.max_images} are taken in one request.")
        with self._answering(name, len(images)):
            chosen, rows, probabilities = self._ask(name, version, timeout_s, lambda chosen: fitting(chosen, images))
        self._ask_shadow(chosen, rows, probabilities)
        return chosen, probabilities

    @contextlib.contextmanager
    def _answering(self, name: str, count: int) -> Iterator[None]:
        record().num_images = count
        with self.engines.places(name, count), while_client_stays():
            yield

    def _decode(self, chosen: Target, encoded: list[EncodedImage]) -> list[np.ndarray]:
        """In the worker's threads, tiny ones here and now; the first image that cannot be decoded is named."""
        began = time.monotonic()
        decode = partial(timed_decode, chosen.spec, self.config.max_pixels)
        results = [
            decode(image.data) if is_tiny(image.data) else self.decoders.spawn(decode, image.data) for image in encoded
        ]
        images = []
        for image, result in zip(encoded, results, strict=True):
            decoded, seconds = result if isinstance(result, tuple) else result.get()
            DECODE.labels(chosen.name, str(chosen.version)).observe(seconds)
            if isinstance(decoded, BadImage):
                hint = "" if image.position else hint_at_curl(request, image.data)
                raise from_bad_image(decoded, image.position, hint)
            images.append(decoded)
        record().add("decode", began, time.monotonic())
        return images

    def _infer(self, chosen: Target, images: list[np.ndarray]) -> np.ndarray:
        answers = self.engines.infer((chosen.name, chosen.version), images, chosen.deadline)
        record().add("queue", answers.sent, answers.started)
        record().add("inference", answers.started, answers.done)
        self._watch(chosen, images, answers.probabilities)
        return answers.probabilities

    def _watch(self, chosen: Target, images: list[np.ndarray], probabilities: np.ndarray) -> None:
        """How sure and how usual these answers are, for the metrics and for who asked."""
        labels, route = (chosen.name, str(chosen.version)), chosen.route
        confidence, far_away = CONFIDENCE.labels(*labels), FAR.labels(*labels)
        for share in probabilities.max(axis=1).tolist():
            confidence.observe(share)
        target = (chosen.name, chosen.version)
        far = self.monitor.observe(target, route.reference, route.class_names, np.stack(images), probabilities)
        record().out_of_distribution = far
        for score in [] if far is None else far.tolist():
            far_away.observe(score)

    def _timeout_s(self) -> float:
        """The service's own, or the client's if that is shorter."""
        asked = request.headers.get(TIMEOUT_HEADER)
        if asked is None:
            return self.config.deadline_s
        if not (asked.isascii() and asked.isdigit() and len(asked) < 10 and int(asked)):
            raise BadRequest(f"{TIMEOUT_HEADER} is {asked[:50]!r}; it has to be a whole number of milliseconds from 1.")
        return min(self.config.deadline_s, int(asked) / 1000)

    def _canary(self, model: ModelRoute) -> int | None:
        """The canary's number, if this request is one of its share and it can answer."""
        number = model.labels.get("canary")
        route = model.versions.get(number) if number is not None else None
        if route is None or route.state != "available":
            return None
        key = request.headers.get(self.config.canary_header) if self.config.canary_header else None
        drawn = random.random() if key is None else share_of(key)
        return number if drawn < model.canary_fraction else None

    def _ask_shadow(self, chosen: Target, images: list[np.ndarray], answered: np.ndarray) -> None:
        """Have the shadow answer what the live version did, for the metrics; under load it gives way."""
        model = self.engines.routes.models.get(chosen.name)
        number = model.labels.get("shadow") if model else None
        route = model.versions.get(number) if model and number is not None else None
        if model is None or number is None or route is None or route.state != "available":
            return
        if chosen.version != model.live:
            return
        count = self.engines.num_waiting(chosen.name) + len(images)
        if count > SHADOW_SHARE * self.engines.queue_capacity or route.input_spec != chosen.spec:
            SHADOW.labels(chosen.name, str(number), "skipped").inc(len(images))
            return
        names = (chosen.route.class_names, route.class_names)
        gevent.spawn(self._compare, (chosen.name, number), images, answered, names)

    def _compare(
        self,
        shadow: tuple[str, int],
        images: list[np.ndarray],
        answered: np.ndarray,
        names: tuple[tuple[str, ...], tuple[str, ...]],
    ) -> None:
        name, number = shadow
        try:
            with self.engines.places(name, len(images)):
                answers = self.engines.infer(shadow, images, time.monotonic() + self.config.deadline_s)
        except ServiceError as error:
            log.info("the shadow %s version %d did not answer: %s", name, number, error)
            SHADOW.labels(name, str(number), "failed").inc(len(images))
            return
        confidence = CONFIDENCE.labels(name, str(number))
        for share in answers.probabilities.max(axis=1).tolist():
            confidence.observe(share)
        for ours, theirs in zip(answered.argmax(axis=1), answers.probabilities.argmax(axis=1), strict=True):
            agrees = names[0][ours] == names[1][theirs]
            SHADOW.labels(name, str(number), "agrees" if agrees else "differs").inc()


def service() -> Service:
    """Of this worker."""
    found: Service = current_app.extensions["striate"]
    return found


def fitting(chosen: Target, images: np.ndarray) -> list[np.ndarray]:
    """
    Raises:
        Unprocessable: they are none, or have another shape than the version takes.
    """
    if images.shape[1:] != chosen.spec.shape or not len(images):
        wanted = "x".join(map(str, chosen.spec.shape))
        raise Unprocessable(f"The pixels are {images.shape}; {chosen.name} takes one or more images of {wanted}.")
    return list(images)


def share_of(key: str) -> float:
    """[0, 1), the same for the same key in every worker."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def timed_decode(spec: InputSpec, max_pixels: int, data: bytes) -> tuple[np.ndarray | BadImage, float]:
    """Runs in a thread, from which exceptions would be printed; so a bad image is returned."""
    started = time.perf_counter()
    try:
        return decode_image(data, spec, max_pixels=max_pixels), time.perf_counter() - started
    except BadImage as error:
        return error, time.perf_counter() - started
