"""The connection of one HTTP worker to one engine: a ZeroMQ socket, and the images that are in flight on it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
import numpy as np
import zmq.green as zmq
from gevent.event import AsyncResult

from service.errors import DeadlineExceeded, ModelFailed, ServiceError
from service.ipc import messages
from service.ipc.routes import ModelVersion

log = logging.getLogger(__name__)

REPLY_ERRORS: dict[int, Callable[[], ServiceError]] = {
    messages.EXPIRED: lambda: DeadlineExceeded("The deadline passed before the image's turn came. Try again later."),
    messages.REFUSED: lambda: ModelFailed("The engine refused the image's shape. Please report this."),
    messages.FAILED: lambda: ModelFailed("The model gave no finite answer to this image."),
}


# Of one image: probabilities, float32 (num_classes,), and when its batch began and was done (CLOCK_MONOTONIC).
Answer = tuple[np.ndarray, float, float]


@dataclass(slots=True, eq=False)
class Pending:
    """One image whose answer somebody waits for; `deadline` is in seconds of CLOCK_MONOTONIC."""

    id: bytes
    target: ModelVersion
    pixels: bytes
    deadline: float
    answer: AsyncResult = field(default_factory=AsyncResult)


class Channel:
    """Sends images to one engine and gives its replies to those who wait for them."""

    def __init__(self, context: zmq.Context, endpoint: str) -> None:
        self.in_flight: dict[bytes, Pending] = {}  # images that were sent and have no reply yet, by their ids
        self.endpoint = endpoint
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.connect(endpoint)
        self._receiver = gevent.spawn(self._receive)

    def send(self, pending: Pending, deaths: int) -> None:
        """
        Args:
            deaths: number of engines that died while they computed these pixels.
        """
        self.in_flight[pending.id] = pending
        header = messages.REQUEST.pack(pending.id, deaths, pending.deadline, time.monotonic())
        self._socket.send(header + pending.pixels)

    def cancel(self, pending: Pending) -> None:
        """Tell the engine that nobody waits for this image; it is not computed if its batch has not begun."""
        if self.in_flight.pop(pending.id, None) is not None:
            self._socket.send(pending.id)

    def close(self) -> list[Pending]:
        """Close the socket. Returns the images that were still in flight."""
        self._receiver.kill(block=False)  # the caller is in the middle of following new routes
        self._socket.close()
        return list(self.in_flight.values())

    def _receive(self) -> None:
        while True:
            reply = self._socket.recv()
            try:
                self._settle(reply)
            except Exception:  # if this greenlet ended, no request to this engine would ever be answered
                log.exception("a reply of an engine could not be read")

    def _settle(self, reply: bytes) -> None:
        request_id, status, started, done = messages.REPLY.unpack_from(reply)
        pending = self.in_flight.pop(request_id, None)
        if pending is None:  # the request was given up meanwhile
            return
        if status == messages.OK:
            probabilities = np.frombuffer(reply, np.float32, offset=messages.REPLY.size)
            pending.answer.set((probabilities, started, done))
        else:
            pending.answer.set_exception(REPLY_ERRORS[status]())
