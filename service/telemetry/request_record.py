"""What became of one request: its stages and what answered it, for the log, for traces, and for nobody else."""

import re
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flask import g

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what a client may call its request


@dataclass(slots=True)
class Record:
    """One request's."""

    request_id: str  # the client's, or a new one
    began: float = field(default_factory=time.monotonic)  # CLOCK_MONOTONIC
    model: str | None = None  # that answered
    version: int | None = None
    num_images: int = 0  # in the request
    # name, beginning and end by CLOCK_MONOTONIC, in order
    stages: list[tuple[str, float, float]] = field(default_factory=list)
    error: str | None = None  # the code of what went wrong
    # of each image, from 0 to 1 (`service.telemetry.drift`); None without a reference
    out_of_distribution: np.ndarray | None = None

    def fields(self, status: int) -> dict[str, Any]:
        """For the request's line in the log: what is known, and milliseconds."""
        known: dict[str, Any] = {"request_id": self.request_id, "status": status, "error": self.error}
        known |= {"model": self.model, "version": self.version, "images": self.num_images or None}
        times = {f"{name}_ms": end - start for name, start, end in self.stages}
        times["total_ms"] = time.monotonic() - self.began
        rounded = {name: round(1000 * seconds, 1) for name, seconds in times.items()}
        return {name: value for name, value in known.items() if value is not None} | rounded


def record() -> Record:
    """Of the request being answered."""
    found: Record = g.record
    return found
