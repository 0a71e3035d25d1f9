"""The latest images that were answered, so that feedback can name one by its request's id.

Each HTTP worker remembers its own in memory, up to SERVICE_RECENT_BYTES, and asks the others, over a socket in the
service's private directory, for what it does not know: feedback may reach another worker than the request did.
"""

import contextlib
import logging
import os
from pathlib import Path

import gevent
import zmq.green as zmq

log = logging.getLogger(__name__)

OVERHEAD_BYTES = 600  # of a request that is remembered, beside its images
SIBLING_TIMEOUT_MS = 1000


class Recent:
    """What one worker remembers, and a way to ask the others."""

    def __init__(self, runtime: Path, *, max_bytes: int) -> None:
        self._runtime = runtime
        self._max_bytes = max_bytes
        self._requests: dict[str, tuple[str, list[bytes]]] = {}  # model and encoded images, oldest first
        self._num_bytes = 0
        self._name = f"recent-{os.getpid()}"
        self._context = zmq.Context()
        self._server = self._context.socket(zmq.REP)
        self._server.bind(f"ipc://{runtime}/{self._name}")
        self._greenlet = gevent.spawn(self._serve)

    def close(self) -> None:
        self._greenlet.kill()
        self._server.close()
        self._context.term()

    def remember(self, request_id: str, model: str, images: list[bytes]) -> None:
        """Forgets the oldest for it."""
        self._forget(request_id)  # a client may use an id twice; the last is meant
        if size_of(images) > self._max_bytes:
            return
        self._requests[request_id] = model, images
        self._num_bytes += size_of(images)
        while self._num_bytes > self._max_bytes:
            self._forget(next(iter(self._requests)))

    def find(self, request_id: str, model: str, index: int) -> bytes | None:
        """An image of a request to this model, in whichever worker that was."""
        image = self._find_here(request_id, model, index)
        if image is not None:
            return image
        for path in sorted(self._runtime.glob("recent-*")):
            pid = path.name.removeprefix("recent-")
            if path.name != self._name and Path("/proc", pid).exists():
                image = self._ask(path, [request_id, model, str(index)])
                if image is not None:
                    return image
        return None

    def _find_here(self, request_id: str, model: str, index: int) -> bytes | None:
        known, images = self._requests.get(request_id, ("", []))
        return images[index] if known == model and index < len(images) else None

    def _ask(self, path: Path, words: list[str]) -> bytes | None:
        with contextlib.closing(self._context.socket(zmq.REQ)) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(f"ipc://{path}")
            socket.send_multipart([word.encode() for word in words])
            if not socket.poll(SIBLING_TIMEOUT_MS):
                return None
            found, image = socket.recv_multipart()
        return image if found else None

    def _serve(self) -> None:
        while True:
            image = None
            words = self._server.recv_multipart()
            try:
                request_id, model, index = (word.decode() for word in words)
                image = self._find_here(request_id, model, int(index))
            except ValueError:
                log.exception("a question of another worker could not be read")
            self._server.send_multipart([b"" if image is None else b"1", image or b""])

    def _forget(self, request_id: str) -> None:
        if request_id in self._requests:
            self._num_bytes -= size_of(self._requests.pop(request_id)[1])


def size_of(images: list[bytes]) -> int:
    return sum(map(len, images)) + OVERHEAD_BYTES
