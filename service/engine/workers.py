"""The engine's side of the HTTP workers: who is connected, what they ask, and what they are answered."""

import contextlib
import logging
import mmap
import select
import socket
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from service.ipc import messages
from service.ipc.connection import Connection
from service.ipc.slots import Shape, attach

log = logging.getLogger(__name__)

BACKLOG = 1024  # more workers than may be
INPUT, OUTPUT = select.POLLIN | select.POLLHUP | select.POLLERR, select.POLLOUT


class HttpWorker:
    """One that is connected.

    Attributes:
        slots: its arena, uint8 (slots, H, W, C), read-only.
    """

    def __init__(self, connection: Connection, slots: np.ndarray) -> None:
        self.connection = connection
        self.slots = slots
        self._unread = b""

    def requests(self) -> Iterator[tuple[int, int, int, int, float, float]] | None:
        """The requests that have come, as REQUEST holds them; None: it has gone."""
        try:
            received = self.connection.receive()
        except OSError:
            return None
        if received == b"":
            return None
        data = self._unread + (received or b"")
        whole = len(data) // messages.REQUEST.size * messages.REQUEST.size
        self._unread = data[whole:]
        return messages.REQUEST.iter_unpack(data[:whole])


class HttpWorkers:
    """All that are connected to one engine.

    Args:
        endpoint: path of the socket at which the engine is reached.
        shape: of the images that it takes.
        on_leave: called with a worker that has gone.
    """

    def __init__(self, endpoint: str, shape: Shape, on_leave: Callable[[HttpWorker], None]) -> None:
        self._shape = shape
        self._on_leave = on_leave
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(endpoint)
        Path(endpoint).chmod(0o600)
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._listener, INPUT)
        self._workers: dict[int, HttpWorker] = {}  # by descriptor

    def wait(self, timeout_s: float) -> list[HttpWorker]:
        """Workers that have something to say; new ones are taken in, and to all is sent what waited for room."""
        speaking = []
        for descriptor, events in self._poll.poll(timeout_s * 1000):
            worker = self._workers.get(descriptor)
            if worker is None:
                self._accept()
                continue
            if events & OUTPUT:
                self._send(worker, None)
            if events & INPUT and descriptor in self._workers:
                speaking.append(worker)
        return speaking

    def answer(self, worker: HttpWorker, message: bytes) -> None:
        if worker.connection.fileno() in self._workers:  # else it has gone
            self._send(worker, message)

    def remove(self, worker: HttpWorker) -> None:
        descriptor = worker.connection.fileno()
        if self._workers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)
            self._on_leave(worker)
            worker.connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connected, _ = self._listener.accept()
            connected.settimeout(1.0)  # whoever connects says at once who it is
            try:
                _, descriptors, _, _ = socket.recv_fds(connected, len(messages.HELLO), 1)
                slots = attach(descriptors[0], self._shape)
            except (OSError, ValueError, IndexError):
                log.warning("dropped a connection that is none of an HTTP worker")
                connected.close()
                return
            worker = HttpWorker(Connection(connected), slots)
            self._workers[worker.connection.fileno()] = worker
            self._poll.register(worker.connection.fileno(), INPUT)

    def _send(self, worker: HttpWorker, message: bytes | None) -> None:
        try:
            if message is None:
                worker.connection.send_unsent()
            else:
                worker.connection.send(message)
            events = INPUT | OUTPUT if worker.connection.has_unsent else INPUT
            self._poll.modify(worker.connection.fileno(), events)
        except OSError:
            self.remove(worker)


class Computing:
    """The file that says which images are being computed; mapped, since it changes with every batch.

    Args:
        path: of the file.
        most: images that are computed at the same time.
    """

    def __init__(self, path: Path, most: int) -> None:
        size = (most + 1) * messages.ID.size
        with path.open("wb+") as file:
            path.chmod(0o600)
            file.truncate(size)
            self._ids = memoryview(mmap.mmap(file.fileno(), size)).cast("Q")

    def note(self, ids: list[int]) -> None:
        """If the engine dies, this tells the HTTP workers which images may have been the cause."""
        self._ids[: len(ids) + 1] = array("Q", [*ids, messages.NO_ID])
