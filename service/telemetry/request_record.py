"""One request: what it says beside its body, and what became of it; for the log, for traces, and for nobody else."""

import re
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from service.ipc.keys import Key

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what a client may call its request


class Headers(Protocol):
    """Of a request, by their names in whatever case."""

    def get(self, key: str, /) -> str | None: ...


@dataclass(slots=True)
class Record:
    """One request's.

    Attributes:
        request_id: the client's, or a new one.
        socket: the connection that it came on; None of another server than gunicorn, as in a test.
        speaks_1_1: HTTP/1.1, so that the client passes over interim responses.
    """

    method: str
    path: str
    headers: Headers
    mimetype: str = ""
    socket: Any = None
    speaks_1_1: bool = False
    request_id: str = field(init=False)
    began: float = field(default_factory=time.monotonic)  # CLOCK_MONOTONIC
    ended: float = 0.0
    model: str | None = None  # that answered
    version: int | None = None
    num_images: int = 0  # in the request
    # name, beginning and end by CLOCK_MONOTONIC, in order
    stages: list[tuple[str, float, float]] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)  # seconds to decode each image
    error: str | None = None  # the code of what went wrong
    key: Key | None = None  # the API key that was sent, where one is needed
    # of each image, from 0 to 1 (`service.telemetry.drift`); None without a reference
    out_of_distribution: np.ndarray | None = None

    def __post_init__(self) -> None:
        given = self.headers.get("X-Request-Id") or ""
        self.request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        CURRENT.set(self)

    def fields(self, status: int) -> dict[str, Any]:
        """For the request's line in the log: what is known, and milliseconds."""
        known: dict[str, Any] = {"request_id": self.request_id, "status": status}
        if self.error is not None:
            known["error"] = self.error
        if self.key is not None and self.key.name:
            known["key"] = self.key.name
        if self.model is not None:
            known |= {"model": self.model, "version": self.version}
        if self.num_images:
            known["images"] = self.num_images
        for name, start, end in self.stages:
            known[f"{name}_ms"] = round(1000 * (end - start), 1)
        known["total_ms"] = round(1000 * (self.ended - self.began), 1)
        return known


CURRENT: ContextVar[Record] = ContextVar("record")


def record() -> Record:
    """Of the request being answered, which each greenlet has its own of."""
    return CURRENT.get()
