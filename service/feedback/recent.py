"""The latest images that were answered, so that feedback can name one by its request's id.

Each HTTP worker remembers its own in memory, up to SERVICE_RECENT_BYTES, and asks the others, over a Unix socket in
the service's private directory, for what it does not know: feedback may reach another worker than the request did.
"""

import logging
import os
from pathlib import Path
from typing import Any

import msgspec
from gevent import socket
from gevent.server import StreamServer

log = logging.getLogger(__name__)

OVERHEAD_BYTES = 600  # of a request that is remembered, beside its images
SIBLING_TIMEOUT_S = 1.0
MAX_QUESTION_BYTES = 65536
MOST_IMAGES = 1_000_000  # of one request, more than any setting allows


class Question(msgspec.Struct, array_like=True):
    """Which image another worker is asked for; it answers with the image's bytes, or closes the connection."""

    request_id: str
    model: str
    index: int


class Recent:
    """What one worker remembers, and a way to ask the others."""

    def __init__(self, runtime: Path, *, max_bytes: int) -> None:
        self._runtime = runtime
        self._max_bytes = max_bytes
        self._requests: dict[str, tuple[str, list[bytes]]] = {}  # model and encoded images, oldest first
        self._num_bytes = 0
        self._name = f"recent-{os.getpid()}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"{runtime}/{self._name}")
        listener.listen()
        self._server = StreamServer(listener, self._answer)
        self._server.start()

    def close(self) -> None:
        self._server.stop()

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
        if image is not None or index > MOST_IMAGES:
            return image
        for path in sorted(self._runtime.glob("recent-*")):
            pid = path.name.removeprefix("recent-")
            if path.name != self._name and Path("/proc", pid).exists():
                image = self._ask(path, Question(request_id, model, index))
                if image is not None:
                    return image
        return None

    def _find_here(self, request_id: str, model: str, index: int) -> bytes | None:
        known, images = self._requests.get(request_id, ("", []))
        return images[index] if known == model and index < len(images) else None

    def _ask(self, path: Path, question: Question) -> bytes | None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sibling:
                sibling.settimeout(SIBLING_TIMEOUT_S)
                sibling.connect(str(path))
                sibling.sendall(msgspec.msgpack.encode(question))
                sibling.shutdown(socket.SHUT_WR)
                return read_all(sibling) or None
        except OSError:  # it has ended just now, or is too busy to say
            return None

    def _answer(self, sibling: Any, _: object) -> None:
        sibling.settimeout(SIBLING_TIMEOUT_S)
        try:
            asked = msgspec.msgpack.decode(read_all(sibling), type=Question)
            sibling.sendall(self._find_here(asked.request_id, asked.model, asked.index) or b"")
        except (OSError, msgspec.MsgspecError):
            log.warning("a question of another worker could not be answered", exc_info=True)
        finally:
            sibling.close()

    def _forget(self, request_id: str) -> None:
        if request_id in self._requests:
            self._num_bytes -= size_of(self._requests.pop(request_id)[1])


def size_of(images: list[bytes]) -> int:
    return sum(map(len, images)) + OVERHEAD_BYTES


def read_all(sibling: Any) -> bytes:
    """What the other side sends until it closes its direction."""
    parts = []
    while part := sibling.recv(MAX_QUESTION_BYTES):
        parts.append(part)
    return b"".join(parts)
