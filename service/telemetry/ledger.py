"""What is done for each request after its answer, ten times a second: its metrics, its line in the log, its spans."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from prometheus_client import Counter, Histogram

from service.logs import Line, log_together
from service.telemetry.metrics import (
    ANSWERED,
    ASKED,
    DECODE,
    ERRORS,
    FAULTS,
    KEY_IMAGES,
    KEY_REQUESTS,
    LATENCY,
    REQUESTS,
    TOOK,
)
from service.telemetry.request_record import Record
from service.telemetry.tally import Tally
from service.telemetry.tracing import SpanWriter

log = logging.getLogger("service.requests")

PROBES = ("/readyz", "/healthz", "/ping", "/v2/health/live", "/v2/health/ready")  # asked every few seconds, by anybody
AT_ONCE = 16  # requests that are written without a pause: 0.2 ms


class Entry(NamedTuple):
    """A request that was answered; `route` is its pattern, nothing that a client could make up."""

    record: Record
    route: str
    status: int


class Ledger:
    """The requests of one HTTP worker that were answered and not written yet.

    Args:
        tracer: None where no traces are sent.
    """

    def __init__(self, tracer: SpanWriter | None) -> None:
        self._tracer = tracer
        self._tally = Tally()
        self._entries: list[Entry] = []

    def note(self, record: Record, route: str, status: int) -> None:
        record.ended = time.monotonic()
        self._entries.append(Entry(record, route, status))

    def flush(self, pause: Callable[[], object] = lambda: None) -> None:
        """Write what was noted, and call `pause` after every few requests."""
        entries, self._entries = self._entries, []
        for start in range(0, len(entries), AT_ONCE):
            some = entries[start : start + AT_ONCE]
            for entry in some:
                self._count(entry)
                if self._tracer is not None:
                    self._tracer.write(entry.record, entry.route)
            lines = list(lines_of(some))
            if lines:
                log_together(lines)
            pause()
        self._tally.flush()

    def _count(self, entry: Entry) -> None:
        record, route, status = entry
        tally, took_s = self._tally, record.ended - record.began
        requests, latency = series_of_route(route, status)
        tally.count(requests)
        tally.observe(latency, took_s)
        if record.error is not None:
            tally.count(ERRORS.labels(record.error))
        if record.key is not None and record.key.name:
            requests_of_key, images_of_key = series_of_key(record.key.name, status)
            tally.count(requests_of_key)
            tally.count(images_of_key, record.num_images if status < 400 else 0)
        if record.model is None:
            return
        series = series_of_version(record.model, str(record.version), "success" if status < 400 else "failure")
        tally.count(series.asked)
        tally.observe(series.took, took_s)
        tally.count(series.answered, record.num_images)
        tally.observe_all(series.decode, record.decode_s)
        if status >= 500 and status != 503:
            tally.count(series.faults)


class VersionSeries(NamedTuple):
    asked: Counter
    took: Histogram
    answered: Counter
    decode: Histogram
    faults: Counter


@cache
def series_of_route(route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(route, status), LATENCY.labels(route)


@cache
def series_of_key(name: str, status: int) -> tuple[Counter, Counter]:
    return KEY_REQUESTS.labels(name, status), KEY_IMAGES.labels(name)


@cache
def series_of_version(model: str, version: str, outcome: str) -> VersionSeries:
    labels = (model, version)
    return VersionSeries(
        ASKED.labels(*labels, outcome),
        TOOK.labels(*labels, outcome),
        ANSWERED.labels(*labels, outcome),
        DECODE.labels(*labels),
        FAULTS.labels(*labels),
    )


def lines_of(entries: list[Entry]) -> Iterator[Line]:
    """One line a request; none for probes, whose asker sees the answer."""
    offset, pid = time.time() - time.monotonic(), os.getpid()
    for record, route, status in entries:
        level = logging.WARNING if status >= 500 else logging.INFO
        if route not in PROBES and log.isEnabledFor(level):
            message = f"{record.method} {record.path[:256]} {status}"
            when = offset + record.ended
            yield Line(when, logging.getLevelName(level), log.name, pid, message, record.fields(status))
