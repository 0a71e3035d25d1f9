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

from models.files.stamp import ABSENT, Stamp, stamp_of
from service.errors import DeadlineExceeded, EngineCrash, EngineGone, Overloaded
from service.inference.channel import Channel, Question
from service.inference.suspects import MOST_DEATHS, REMEMBERED_S, Suspects
from service.ipc import messages
from service.ipc.routes import ModelVersion, Routes, VersionRoute, read_routes
from service.ipc.slots import Arena
from service.loops import repeat
from service.placement.usage import Usage

log = logging.getLogger(__name__)

ROUTES_INTERVAL_S = 0.05  # between looks at routes.json, if nobody tells that it was replaced
REFUSED = (
    f"{MOST_DEATHS} engines of this model ended while they computed this image; "
    f"it is refused for {REMEMBERED_S / 60:g} minutes."
)
OUT_OF_USE = ("rejected", "parked")  # states of a version that no request should wait for
SPARE_SLOTS = 16  # beside those that the queue's limit allows: for checks of health, which take no place in it
TRIM_INTERVAL_S = 5.0  # between looks for memory of slots that no request needs any more
LATE = "No answer came within the deadline. Try again later."


@dataclass(frozen=True, slots=True)
class Answers:
    """An engine's answer to several images; times are in seconds of CLOCK_MONOTONIC."""

    probabilities: np.ndarray  # float32 (N, num_classes)
    far: np.ndarray | None  # how far each image is from the held-out ones, float (N,); None where that is not measured
    sent: float  # when the images were sent to the engine
    started: float  # started, done: of the batch that was begun last
    done: float


class Engines:
    """The engines of all versions that routes.json names.

    Args:
        capacity: images of one version that may wait at the same time.
        usage: where it is noted that somebody waits for a model; None: nowhere.
    """

    def __init__(self, routes_path: Path, capacity: int = 256, usage: Usage | None = None) -> None:
        self._usage = usage
        self._routes_path = routes_path
        self._num_slots = capacity + SPARE_SLOTS
        self._routes_stamp: Stamp | None = None
        self._channels: dict[str, Channel] = {}  # by endpoint
        self._arenas: dict[ModelVersion, Arena] = {}
        self._unassigned: list[tuple[Question, int]] = []  # images whose engine is starting
        self._suspects = Suspects()
        self._turn = os.getpid()  # of a version's engines, where several have as little to do
        self._ids = itertools.count(os.getpid() << 40)  # of no other worker
        self._routes = Routes()
        self.reload()
        self._watchers = [
            gevent.spawn(repeat, self._follow, every_s=ROUTES_INTERVAL_S),
            gevent.spawn(repeat, self._trim, every_s=TRIM_INTERVAL_S),
        ]

    def close(self) -> None:
        """Close every connection. Requests that still wait get no answer."""
        gevent.killall(self._watchers)
        for channel in self._channels.values():
            channel.close()
        for arena in self._arenas.values():
            arena.close()

    @property
    def routes(self) -> Routes:
        """The routes as they were read last."""
        return self._routes

    def infer(
        self, target: ModelVersion, images: list[np.ndarray], deadline: float, *, counts: int = messages.CONFIDENCE
    ) -> Answers:
        """Have a version's engine classify uint8 images (H, W, C).

        Args:
            deadline: in seconds of CLOCK_MONOTONIC.
            counts: in which statistics the images do (`service.ipc.messages`).

        Raises:
            DeadlineExceeded, EngineCrash, ModelFailed: for the first image that has no answer.
            EngineGone: the version has no engine any more, nor will it have one soon.
            Overloaded: there is no room for the images.
        """
        arena = self._arenas.get(target)
        if arena is None:
            raise EngineGone(f"Version {target[1]} of {target[0]} has no engine now. Try again later.")
        slots: list[int] = []
        question = None
        try:
            for image in images:
                slot = arena.put(image)
                if slot is None:
                    raise Overloaded("Too many images are waiting already. Try again later.")
                slots.append(slot)
            question = Question(target, arena, slots, [next(self._ids) for _ in slots], counts, deadline)
            return self._ask(question)
        finally:
            if question is not None:
                self._forget(question)
            for slot in slots:
                arena.free(slot)

    def _ask(self, question: Question) -> Answers:
        sent = time.monotonic()
        late = gevent.get_hub().loop.timer(max(0.0, question.deadline - sent))
        late.start(question.fail, DeadlineExceeded(LATE))
        try:
            for place in range(len(question.slots)):
                self._send(question, place)
            question.answered.get()
        finally:
            late.stop()
            late.close()
        for slot in question.slots if self._suspects else ():
            self._suspects.acquit(question.target, question.arena.read(slot))
        far = np.array(question.far)
        rows = [row for row in question.rows if row is not None]
        return Answers(np.stack(rows), None if np.isnan(far).any() else far, sent, question.started, question.done)

    def _send(self, question: Question, place: int) -> None:
        """To the version's engine; while that is starting, keep the image until it is up."""
        name, version = question.target
        route = self._route(question.target)
        deaths = 0
        if self._suspects:
            deaths = self._suspects.deaths(question.target, question.arena.read(question.slots[place]))
        if deaths >= MOST_DEATHS:
            question.fail(EngineCrash(REFUSED))
        elif route is None or route.state in OUT_OF_USE:
            question.fail(EngineGone(f"Version {version} of {name} has no engine now. Try again later."))
        elif not route.endpoints:
            self._unassigned.append((question, place))
        else:
            self._least_busy(route.endpoints).ask(question, place, deaths)

    def _least_busy(self, endpoints: tuple[str, ...]) -> Channel:
        """Of a version's engines, the one that has fewest images of this worker; of several, not always the same."""
        if len(endpoints) == 1:
            return self._channels[endpoints[0]]
        self._turn += 1
        first = self._turn % len(endpoints)
        return min(
            (self._channels[endpoint] for endpoint in (*endpoints[first:], *endpoints[:first])),
            key=lambda channel: len(channel.in_flight),
        )

    def _route(self, target: ModelVersion) -> VersionRoute | None:
        name, version = target
        model = self._routes.models.get(name)
        return model.versions.get(version) if model else None

    def _forget(self, question: Question) -> None:
        if question.missing:
            for channel in self._channels.values():
                for number in question.ids:
                    channel.cancel(number)
            self._unassigned = [(other, place) for other, place in self._unassigned if other is not question]

    def _follow(self) -> None:
        self.reload()
        self._note_waiting()
        for channel in self._channels.values():
            channel.connect()

    def _note_waiting(self) -> None:
        """Say that models are asked whose engines are not there yet; others could else be loaded in their place."""
        for name in {question.target[0] for question, _ in self._unassigned}:
            if self._usage is not None and name in self._routes.models:
                self._usage.note(self._routes.models[name].number)

    def _trim(self) -> None:
        for arena in self._arenas.values():
            arena.trim()

    def reload(self) -> None:
        """Read routes.json if it has changed; open channels to new engines, and requeue what dead engines had."""
        stamp = stamp_of(self._routes_path)
        if stamp == self._routes_stamp or (stamp == ABSENT and self._routes_stamp):
            return  # if it is gone, somebody deleted the directory of a running service: the routes as read last hold
        self._routes = read_routes(self._routes_path)
        self._routes_stamp = stamp
        routes = {(name, n): route for name, m in self._routes.models.items() for n, route in m.versions.items()}
        endpoints = {e: target for target, route in routes.items() for e in (*route.endpoints, *route.leaving)}
        for target, route in routes.items():
            if route.input_spec is not None and target not in self._arenas:
                self._arenas[target] = Arena(route.input_spec.shape, self._num_slots)
        for endpoint in endpoints.keys() - self._channels.keys():
            self._channels[endpoint] = Channel(endpoint, self._arenas[endpoints[endpoint]])
        for endpoint in self._channels.keys() - endpoints.keys():
            self._requeue_after_death(self._channels.pop(endpoint))
        unassigned, self._unassigned = self._unassigned, []
        for question, place in unassigned:
            self._send(question, place)
        for target in self._arenas.keys() - routes.keys():
            self._arenas.pop(target).retire()

    def _requeue_after_death(self, channel: Channel) -> None:
        """Have every image in flight sent again; those that the engine was computing are suspected of its death."""
        in_flight, computing = channel.close(), messages.read_computing(channel.endpoint)
        suspected = [question_and_place for number, question_and_place in in_flight.items() if number in computing]
        for target, pixels in {(q.target, q.arena.read(q.slots[place])) for q, place in suspected}:
            deaths = self._suspects.note_death(target, pixels)
            if deaths >= MOST_DEATHS:
                what = (deaths, *target, REMEMBERED_S / 60)
                log.error("%d engines of %s version %d died of an image, which is refused for %g minutes", *what)
        self._unassigned += in_flight.values()
