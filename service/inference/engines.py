"""The HTTP worker's side of the engines: sends images, brings answers back, and hides an engine's death.

Everything here runs in the one thread that gevent uses. Classifying an image twice does no harm, so images that were in
flight when an engine died are sent again to its successor, within their deadlines, except images that engines died of
(service.inference.suspects).
"""

import itertools
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import gevent
import numpy as np
import zmq.green as zmq

from models.files.stamp import ABSENT, Stamp, stamp_of
from service.errors import DeadlineExceeded, EngineCrash, EngineGone
from service.inference.channel import Answer, Channel, Pending
from service.inference.suspects import MOST_DEATHS, REMEMBERED_S, Suspects
from service.ipc.messages import read_computing
from service.ipc.routes import ModelVersion, Routes, read_routes
from service.loops import repeat

log = logging.getLogger(__name__)

ROUTES_INTERVAL_S = 0.05  # between looks at routes.json
REFUSED = (
    f"{MOST_DEATHS} engines of this model ended while they computed this image; "
    f"it is refused for {REMEMBERED_S / 60:g} minutes."
)
OUT_OF_USE = ("rejected", "parked")  # states of a version that no request should wait for


@dataclass(frozen=True, slots=True)
class Answers:
    """An engine's answer to several images; times are in seconds of CLOCK_MONOTONIC."""

    probabilities: np.ndarray  # float32 (N, num_classes)
    sent: float  # when the images were sent to the engine
    started: float  # started, done: of the batch that was begun last
    done: float


class Engines:
    """The engines of all versions that routes.json names."""

    def __init__(self, routes_path: Path) -> None:
        self._routes_path = routes_path
        self._routes_stamp: Stamp | None = None
        self._context = zmq.Context()
        self._channels: dict[str, Channel] = {}  # by endpoint
        self._unassigned: list[Pending] = []  # images whose engine is starting
        self._suspects = Suspects()
        self._id_prefix = os.urandom(8)
        self._ids = itertools.count()
        self._routes = Routes()
        self._reload()
        self._watcher = gevent.spawn(repeat, self._reload, every_s=ROUTES_INTERVAL_S)

    def close(self) -> None:
        """Close every socket. Requests that still wait get no answer."""
        self._watcher.kill()
        for channel in self._channels.values():
            channel.close()
        self._context.term()

    @property
    def routes(self) -> Routes:
        """The routes as the supervisor wrote them last, so that all HTTP workers agree at any time."""
        self._reload()
        return self._routes

    def infer(self, target: ModelVersion, images: list[np.ndarray], deadline: float) -> Answers:
        """Have a version's engine classify uint8 images (H, W, C).

        Args:
            deadline: in seconds of CLOCK_MONOTONIC.

        Raises:
            DeadlineExceeded, EngineCrash, ModelFailed: for the first image that has no answer.
            EngineGone: the version has no engine any more, nor will it have one soon.
        """
        sent = time.monotonic()
        waiting = [
            Pending(self._id_prefix + next(self._ids).to_bytes(8, "little"), target, image.tobytes(), deadline)
            for image in images
        ]
        try:
            for pending in waiting:
                self._send(pending)
            answers = [self._await(pending) for pending in waiting]
        finally:
            for pending in waiting:
                self._forget(pending)
        for image in images if self._suspects else ():
            self._suspects.acquit(target, image.tobytes())
        started, done = max((started, done) for _, started, done in answers)
        return Answers(np.stack([probabilities for probabilities, _, _ in answers]), sent, started, done)

    def _send(self, pending: Pending) -> None:
        """To the version's engine; while that is starting, keep the image until it is up."""
        name, version = pending.target
        model = self._routes.models.get(name)
        route = model.versions.get(version) if model else None
        deaths = self._suspects.deaths(pending.target, pending.pixels)
        if deaths >= MOST_DEATHS:
            pending.answer.set_exception(EngineCrash(REFUSED))
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

    def _reload(self) -> None:
        """Read routes.json if it has changed; open channels to new engines, and requeue what dead engines had."""
        stamp = stamp_of(self._routes_path)
        if stamp == self._routes_stamp or (stamp == ABSENT and self._routes_stamp):
            return  # if it is gone, somebody deleted the directory of a running service: the routes as read last hold
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
        """Have every image in flight sent again; those that the engine was computing are suspected of its death."""
        in_flight, computing = channel.close(), read_computing(channel.endpoint)
        for target, pixels in {(p.target, p.pixels) for p in in_flight if p.id in computing}:
            deaths = self._suspects.note_death(target, pixels)
            if deaths >= MOST_DEATHS:
                what = (deaths, *target, REMEMBERED_S / 60)
                log.error("%d engines of %s version %d died of an image, which is refused for %g minutes", *what)
        self._unassigned += in_flight
