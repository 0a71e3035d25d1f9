"""The connection of one HTTP worker to one engine, and the images that are in flight on it."""

import logging
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import gevent
import numpy as np
from gevent.hub import Waiter

from service.errors import DeadlineExceeded, ModelFailed, ServiceError
from service.ipc import messages
from service.ipc.connection import Connection
from service.ipc.routes import ModelVersion
from service.ipc.slots import Arena

log = logging.getLogger(__name__)

READ, WRITE = 1, 2  # what a libev watcher waits for
FAILURES: dict[int, tuple[type[ServiceError], str]] = {
    messages.EXPIRED: (DeadlineExceeded, "The deadline passed before the image's turn came. Try again later."),
    messages.FAILED: (ModelFailed, "The model gave no finite answer to this image."),
}


@dataclass(slots=True, eq=False)
class Question:
    """Images of one request, in slots of an arena, whose answers somebody waits for.

    Attributes:
        ids: one an image.
        counts: in which statistics they do: service.ipc.messages.CONFIDENCE, DRIFT.
        deadline: in seconds of CLOCK_MONOTONIC.
        rows: probabilities float32 (num_classes,) of each image; None while it has none.
        far: how far each image is from the reference; NaN where that is not measured.
        started, done: of the batch that was begun last.
    """

    target: ModelVersion
    arena: Arena
    slots: list[int]
    ids: list[int]
    counts: int
    deadline: float
    rows: list[np.ndarray | None] = field(init=False)
    far: list[float] = field(init=False)
    missing: int = field(init=False)
    started: float = 0.0
    done: float = 0.0
    answered: Waiter = field(default_factory=Waiter)

    def __post_init__(self) -> None:
        self.missing = len(self.slots)
        self.rows = [None] * self.missing
        self.far = [float("nan")] * self.missing

    def settle(self, place: int, row: np.ndarray, far: float, started: float, done: float) -> None:
        """One image's answer has come; called in gevent's hub."""
        self.rows[place], self.far[place] = row, far
        self.started, self.done = max(self.started, started), max(self.done, done)
        self.missing -= 1
        if not self.missing:
            self.answered.switch(None)

    def fail(self, error: ServiceError) -> None:
        """No answer will come."""
        gevent.get_hub().loop.run_callback(self.answered.throw, error)


class Channel:
    """Sends requests to one engine and gives its answers to those who wait for them.

    Args:
        endpoint: path of the engine's socket.
        arena: that of the engine's version.
    """

    def __init__(self, endpoint: str, arena: Arena) -> None:
        self.endpoint = endpoint
        # images that were sent and have no answer yet, by their ids: the question, and the image's place in it
        self.in_flight: dict[int, tuple[Question, int]] = {}
        self._arena = arena
        self._loop = gevent.get_hub().loop
        self._unread = b""
        self._unsent: list[bytes] = []
        self._connection: Connection | None = None
        self._watchers: list[Any] = []
        self.connect()

    def connect(self) -> None:
        """Does nothing where it is connected, or the engine is not yet there or is gone: routes.json tells that."""
        if self._connection is not None:
            return
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.connect(self.endpoint)
            socket.send_fds(connected, [messages.HELLO], [self._arena.descriptor])
        except OSError:
            connected.close()
            return
        self._connection = Connection(connected)
        readable, writable = (self._loop.io(connected.fileno(), event) for event in (READ, WRITE))
        readable.start(self._receive)
        self._watchers = [readable, writable]
        if self._unsent:
            self._loop.run_callback(self._send)

    def ask(self, question: Question, place: int, deaths: int) -> None:
        """
        Args:
            deaths: number of engines that died while they computed these pixels.
        """
        number = question.ids[place]
        self.in_flight[number] = question, place
        times = question.deadline, time.monotonic()
        self._post(messages.REQUEST.pack(number, question.slots[place], deaths, question.counts, *times))

    def cancel(self, number: int) -> None:
        """Tell the engine that nobody waits for this image; it is not computed if its batch has not begun."""
        if self.in_flight.pop(number, None) is not None:
            self._post(messages.REQUEST.pack(number, messages.CANCEL, 0, 0, 0.0, 0.0))

    def close(self) -> dict[int, tuple[Question, int]]:
        """Close the connection. Returns what was still in flight."""
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._watchers = []
        if self._connection is not None:
            self._connection.close()
        return self.in_flight

    def _post(self, message: bytes) -> None:
        """All that is posted in one turn of the event loop is sent together."""
        if not self._unsent and self._connection is not None:
            self._loop.run_callback(self._send)
        self._unsent.append(message)

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._connection is None or not self._watchers:
            return
        try:
            self._connection.send(b"".join(unsent))
        except OSError:  # the engine has died, which routes.json tells; what is in flight is then sent to its successor
            return
        if self._connection.has_unsent and not self._watchers[1].active:
            self._watchers[1].start(self._send_rest)

    def _send_rest(self) -> None:
        assert self._connection is not None
        try:
            self._connection.send_unsent()
        except OSError:
            self._watchers[1].stop()
        if not self._connection.has_unsent:
            self._watchers[1].stop()

    def _receive(self) -> None:
        assert self._connection is not None
        try:
            received = self._connection.receive()
        except OSError:
            received = b""
        if received == b"":  # the engine has gone
            self._watchers[0].stop()
            return
        try:
            self._unread = self._settle_all(self._unread + (received or b""))
        except Exception:  # else no request to this engine would ever be answered
            log.exception("an answer of an engine could not be read")

    def _settle_all(self, data: bytes) -> bytes:
        """Give every whole answer to whom it belongs. Returns what is left."""
        at = 0
        while len(data) - at >= messages.REPLY.size:
            count, classes, started, done = messages.REPLY.unpack_from(data, at)
            rows_at = at + messages.REPLY.size
            numbers_at = rows_at + count * messages.ROW.size
            end = numbers_at + 4 * count * classes
            if len(data) < end:
                break
            probabilities = np.frombuffer(data, np.float32, count * classes, numbers_at).reshape(count, classes)
            at = end
            for i, (number, status, far) in enumerate(messages.ROW.iter_unpack(data[rows_at:numbers_at])):
                question, place = self.in_flight.pop(number, (None, 0))
                if question is None:  # it was given up meanwhile
                    continue
                if status == messages.OK:
                    question.settle(place, probabilities[i], far, started, done)
                else:
                    kind, message = FAILURES[status]
                    question.fail(kind(message))
        return data[at:]
