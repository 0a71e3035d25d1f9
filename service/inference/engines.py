"""The HTTP worker's side of the engines: sends images, brings answers back, and hides an engine's death.

Everything here runs in gevent's one thread. Inference is idempotent, so what was in flight when an engine died is
sent again to its successor, within its deadline; but for an image that engines died of (service.inference.suspects).
"""

import contextlib
import itertools
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gevent
import numpy as np
import zmq.green as zmq
from gevent.event import AsyncResult

from service.errors import (
    DeadlineExceeded,
    EngineCrash,
    EngineGone,
    ModelFailed,
    NotFound,
    NotReady,
    Overloaded,
    ServiceError,
    TooLarge,
)
from service.inference.suspects import MOST_DEATHS, REMEMBERED_S, Suspects
from service.ipc import messages
from service.ipc.routes import ModelVersion, Routes, VersionRoute, read_routes
from service.loops import repeat
from service.telemetry.metrics import WAITING

log = logging.getLogger(__name__)

WATCH_S = 0.05  # how often routes.json is looked at
MEMORY = 0.9  # of what a request takes: share of the past in the running mean


@dataclass(frozen=True, slots=True)
class Answers:
    """What an engine said, and when, by CLOCK_MONOTONIC.

    Attributes:
        probabilities: float32 (N, num_classes).
        sent: to the engine.
        started, done: the batch that was begun last.
    """

    probabilities: np.ndarray
    sent: float
    started: float
    done: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one image: float32 (num_classes,), and when its batch was begun and done."""

    probabilities: np.ndarray
    started: float
    done: float


@dataclass(slots=True, eq=False)
class Pending:
    """One image that somebody waits for."""

    id: bytes
    target: ModelVersion
    pixels: bytes
    deadline: float
    answer: AsyncResult = field(default_factory=AsyncResult)


class Channel:
    """One engine: a socket, and what is in flight on it."""

    def __init__(self, context: zmq.Context, endpoint: str) -> None:
        self.in_flight: dict[bytes, Pending] = {}
        self._endpoint = endpoint
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.connect(endpoint)
        self._receiver = gevent.spawn(self._receive)

    def send(self, pending: Pending, deaths: int) -> None:
        """
        Args:
            deaths: of engines that died while they computed these pixels.
        """
        self.in_flight[pending.id] = pending
        header = messages.REQUEST.pack(pending.id, deaths, pending.deadline, time.monotonic())
        self._socket.send(header + pending.pixels)

    def cancel(self, pending: Pending) -> None:
        """Nobody waits for it any more; if it still waits in the engine, it is not computed."""
        if self.in_flight.pop(pending.id, None) is not None:
            self._socket.send(pending.id)

    def close(self) -> list[Pending]:
        """Returns what was still in flight."""
        self._receiver.kill(block=False)  # whoever closes is in the middle of following new routes
        self._socket.close()
        return list(self.in_flight.values())

    def computing(self) -> set[bytes]:
        """Ids of the images that the engine was computing when it was heard of last."""
        return messages.read_computing(self._endpoint)

    def _receive(self) -> None:
        while True:
            reply = self._socket.recv()
            try:
                self._settle(reply)
            except Exception:  # without a receiver nobody who asks this engine would ever be answered
                log.exception("a reply of an engine could not be read")

    def _settle(self, reply: bytes) -> None:
        request_id, status, started, done = messages.REPLY.unpack_from(reply)
        pending = self.in_flight.pop(request_id, None)
        if pending is None:  # whoever asked has given up
            return
        if status == messages.OK:
            probabilities = np.frombuffer(reply, np.float32, offset=messages.REPLY.size)
            pending.answer.set(Answer(probabilities, started, done))
        else:
            pending.answer.set_exception(REPLY_ERRORS[status]())


REPLY_ERRORS: dict[int, Callable[[], ServiceError]] = {
    messages.EXPIRED: lambda: DeadlineExceeded("The deadline passed before the image's turn came. Try again later."),
    messages.REFUSED: lambda: ModelFailed("The engine refused the image's shape. Please report this."),
    messages.FAILED: lambda: ModelFailed("The model gave no finite answer to this image."),
}


OUT_OF_USE = ("rejected", "parked")  # states of a version that nobody should wait for


class Engines:
    """All engines that routes.json names, as one thing to ask."""

    def __init__(self, routes_path: Path, *, queue_capacity: int) -> None:
        self._routes_path = routes_path
        self._routes_stamp: tuple[int, int] | None = None
        self._queue_capacity = queue_capacity
        self._context = zmq.Context()
        self._channels: dict[str, Channel] = {}  # by endpoint
        self._unassigned: list[Pending] = []  # waiting for an engine to come up
        self._suspects = Suspects()
        self._id_prefix = os.urandom(8)
        self._ids = itertools.count()
        self._num_waiting: Counter[str] = Counter()  # by model, so that none takes another's places
        self._mean_s: dict[str, float] = {}  # by model: from a place in the queue to the answer
        self._routes = Routes()
        self._reload()
        self._watcher = gevent.spawn(repeat, self._watch, every_s=WATCH_S)

    def close(self) -> None:
        """Let go of every socket; whoever still waits gets no answer."""
        self._watcher.kill()
        for channel in self._channels.values():
            channel.close()
        self._context.term()

    @property
    def routes(self) -> Routes:
        """As the supervisor wrote them last, so that all HTTP workers say the same at the same time."""
        self._reload()
        return self._routes

    @contextlib.contextmanager
    def places(self, model: str, count: int) -> Iterator[None]:
        """Places in the model's queue, kept from before its images are decoded until they are answered.

        Raises:
            Overloaded: there is no room; says when there will be.
            TooLarge: there never is for so many.
        """
        self.check_room(model, count)
        self._num_waiting[model] += count
        began = time.monotonic()
        try:
            yield
            took_s = time.monotonic() - began
            self._mean_s[model] = MEMORY * self._mean_s.get(model, took_s) + (1 - MEMORY) * took_s
        finally:
            self._num_waiting[model] -= count

    def check_room(self, model: str, count: int = 1) -> None:
        """As `places`, without taking them: a request can be refused before its body is read."""
        if count > self._queue_capacity:
            raise TooLarge(f"{count} images came, and {self._queue_capacity} may wait here (SERVICE_QUEUE_CAPACITY).")
        if self.num_waiting(model) + count > self._queue_capacity:
            soon = max(1, math.ceil(self._mean_s.get(model, 0.0)))  # by then those that wait now are answered
            raise Overloaded(
                f"{self.num_waiting(model)} images of {model} are waiting already. Try again in {soon} s.",
                retry_after_s=soon,
            )

    def num_waiting(self, model: str) -> int:
        return self._num_waiting[model]

    @property
    def queue_capacity(self) -> int:
        return self._queue_capacity

    def infer(self, target: ModelVersion, images: list[np.ndarray], deadline: float) -> Answers:
        """What a version's engine says of uint8 images (H, W, C).

        Args:
            deadline: of CLOCK_MONOTONIC, seconds.

        Raises:
            DeadlineExceeded, EngineCrash, ModelFailed: for the first image that has no answer.
            EngineGone: the version has no engine any more, nor will it have one soon.
        """
        sent = time.monotonic()
        waiting = [self._submit(target, image.tobytes(), deadline) for image in images]
        try:
            answers = [self._await(pending) for pending in waiting]
        finally:
            for pending in waiting:
                self._forget(pending)
        for image in images if self._suspects else ():
            self._suspects.acquit(target, image.tobytes())
        last = max(answers, key=lambda answer: answer.started)
        return Answers(np.stack([answer.probabilities for answer in answers]), sent, last.started, last.done)

    def _submit(self, target: ModelVersion, pixels: bytes, deadline: float) -> Pending:
        request_id = self._id_prefix + next(self._ids).to_bytes(8, "little")
        pending = Pending(request_id, target, pixels, deadline)
        self._send(pending)
        return pending

    def _send(self, pending: Pending) -> None:
        """To the version's engine; where that is to be started again, once it is."""
        name, version = pending.target
        model = self._routes.models.get(name)
        route = model.versions.get(version) if model else None
        deaths = self._suspects.deaths(pending.target, pending.pixels)
        if deaths >= MOST_DEATHS:
            pending.answer.set_exception(crash_error())
        elif route is None or route.state in OUT_OF_USE:
            pending.answer.set_exception(EngineGone(f"Version {version} of {name} has no engine now. Try again later."))
        elif route.endpoint is None:
            self._unassigned.append(pending)
        else:
            self._channels[route.endpoint].send(pending, deaths)

    def _await(self, pending: Pending) -> Answer:
        try:
            return pending.answer.get(timeout=max(0.0, pending.deadline - time.monotonic()))
        except gevent.Timeout:
            raise DeadlineExceeded("No answer came within the deadline. Try again later.") from None

    def _forget(self, pending: Pending) -> None:
        for channel in self._channels.values():
            channel.cancel(pending)
        if pending in self._unassigned:
            self._unassigned.remove(pending)

    def _watch(self) -> None:
        for model in self._routes.models.keys() | self._num_waiting.keys():
            WAITING.labels(model).set(self._num_waiting[model])
        self._reload()

    def _reload(self) -> None:
        try:
            status = self._routes_path.stat()
        except FileNotFoundError:
            if self._routes_stamp is None:
                raise
            return  # somebody cleaned up behind us; what was read last still holds
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp == self._routes_stamp:
            return
        self._routes = read_routes(self._routes_path)
        self._routes_stamp = stamp
        endpoints = {v.endpoint for m in self._routes.models.values() for v in m.versions.values() if v.endpoint}
        for endpoint in endpoints - self._channels.keys():
            self._channels[endpoint] = Channel(self._context, endpoint)
        for endpoint in self._channels.keys() - endpoints:
            self._requeue_after_death(self._channels.pop(endpoint))
        unassigned, self._unassigned = self._unassigned, []
        for pending in unassigned:
            self._send(pending)

    def _requeue_after_death(self, channel: Channel) -> None:
        """An engine is gone: everything in flight is tried again, but for an image of which too many engines died."""
        in_flight, computing = channel.close(), channel.computing()
        for target, pixels in {(p.target, p.pixels) for p in in_flight if p.id in computing}:
            deaths = self._suspects.note_death(target, pixels)
            if deaths >= MOST_DEATHS:
                what = (deaths, *target, REMEMBERED_S / 60)
                log.error("%d engines of %s version %d died of an image, which is refused for %g minutes", *what)
        self._unassigned += in_flight


def find_version(routes: Routes, name: str, version: int | None) -> tuple[int, VersionRoute]:
    """The version of a model that answers: the one named, else the live one.

    Raises:
        NotFound: there is no such model, or no such version of it.
        NotReady: it has not answered yet.
    """
    model = routes.models.get(name)
    if model is None:
        raise NotFound(f"There is no model of this name; there are {', '.join(routes.models) or 'none yet'}.")
    if model.unloaded:
        raise NotReady(f"{name} was unloaded. Load it again, or promote a version.")
    number = model.live if version is None else version
    if number is None:
        raise NotReady(f"No version of {name} is live yet.")
    route = model.versions.get(number)
    if route is None or (route.state == "rejected" and version is not None):
        loaded = [str(n) for n, v in model.versions.items() if v.state in ("available", "restarting")]
        raise NotFound(f"Version {number} of {name} is not loaded; loaded are {', '.join(loaded) or 'none'}.")
    if route.state == "rejected":
        raise NotReady(f"Version {number} of {name} cannot be loaded: see GET /models/{name}.")
    if route.state == "parked":
        raise NotReady(f"Version {number} of {name} cannot be kept running: see GET /models/{name}.", retry_after_s=30)
    if route.input_spec is None:
        raise NotReady(f"Version {number} of {name} is {route.reason or 'loading'}.")
    return number, route


def crash_error() -> EngineCrash:
    return EngineCrash(
        f"{MOST_DEATHS} engines of this model ended while they computed this image; "
        f"it is refused for {REMEMBERED_S / 60:g} minutes."
    )
