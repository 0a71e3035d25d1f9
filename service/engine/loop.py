"""The engine's loop: takes requests in, computes them in batches, answers each worker's share of a batch at once."""

import logging
import math
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.engine.batcher import Batch, Batcher, Instance, stack
from service.engine.loading import Loaded
from service.engine.statistics import Result, Statistics
from service.engine.workers import Computing, HttpWorker, HttpWorkers
from service.ipc import messages

log = logging.getLogger(__name__)

IDLE_BEFORE_STOP_S = 1.0  # a retiring engine waits this long for requests already on their way
NO_PROBABILITIES = np.empty((1, 0), np.float32)
IDLE_S = 0.1  # after so long without a request, what was counted is added to the metrics


@dataclass(frozen=True, slots=True)
class Running:
    """A batch that the backend has begun."""

    batch: Batch
    images: np.ndarray  # uint8 (size, H, W, C)
    started: float
    handle: Any  # the backend's; None where it raised


class Engine:
    """One model version's loop.

    Args:
        endpoint: path of the socket at which it is reached.
        drift: folder in which the counts of drift are written.
    """

    def __init__(self, loaded: Loaded, endpoint: str, version: int, drift: Path) -> None:
        self._backend = loaded.backend
        self._shape = loaded.manifest.input_spec.shape
        self._sizes = loaded.sizes()
        self._batcher = Batcher(self._sizes)
        self._running: deque[Running] = deque()
        self.statistics = Statistics(loaded.manifest, loaded.familiarity, version, drift)
        most = loaded.max_batch_size * (loaded.backend.in_flight + 1)
        self._computing = Computing(messages.computing_file(endpoint), most)
        self._workers = HttpWorkers(endpoint, self._shape, self._batcher.discard)
        self._stopping = False
        self.busy_since: float | None = None  # when the batch being computed was begun; None between batches
        self._last_done = 0.0

    def run(self) -> None:
        """Until asked to stop and nothing has come for a second."""
        while self._receive():
            batch, expired = self._batcher.next_batch()
            for instance in expired:
                row = (instance.id, messages.EXPIRED, math.nan)
                self._workers.answer(instance.sender, messages.reply([row], NO_PROBABILITIES))
            if batch is None:
                self._finish_all_but(0)
                continue
            in_flight = (
                1 if batch.instances[0].deaths else self._backend.in_flight
            )  # it may crash this engine, so it is computed alone
            self._finish_all_but(in_flight - 1)
            self._start(batch)
            self._finish_all_but(in_flight - 1)

    def stop(self) -> None:
        self._stopping = True

    def _receive(self) -> bool:
        """Take in all that has come; wait only while nobody asks. False: stop."""
        speaking = self._workers.wait(0)
        if not self._batcher and not self._running:
            idle_since = time.monotonic()
            while not speaking:
                speaking = self._workers.wait(IDLE_S)
                if not speaking:
                    self.statistics.flush()
                    if self._stopping and time.monotonic() - idle_since >= IDLE_BEFORE_STOP_S:
                        return False
        for worker in speaking:
            requests = worker.requests()
            if requests is None:
                self._workers.remove(worker)
                continue
            for number, slot, deaths, counts, deadline, sent in requests:
                if slot == messages.CANCEL:
                    self._batcher.discard(worker, number)
                elif slot < len(worker.slots):
                    self._batcher.add(Instance(worker, number, slot, deaths, counts, deadline, sent))
        return True

    def _start(self, batch: Batch) -> None:
        self._note_computing(batch)
        images, started, handle = stack(batch, self._shape), time.monotonic(), None
        if self.busy_since is None:
            self.busy_since = started
        try:
            handle = self._backend.start(images)
        except Exception:
            log.exception("a batch of %d failed", batch.size)
        self._running.append(Running(batch, images, started, handle))

    def _note_computing(self, *starting: Batch) -> None:
        batches = [*(running.batch for running in self._running), *starting]
        self._computing.note([instance.id for batch in batches for instance in batch.instances])

    def _finish_all_but(self, count: int) -> None:
        while len(self._running) > count:
            self._finish(self._running.popleft())

    def _finish(self, running: Running) -> None:
        batch = running.batch
        probabilities, features = self._result(running)
        started, done = max(running.started, self._last_done), time.monotonic()  # it began when the one before was done
        self._last_done = done
        self.busy_since = done if self._running else None
        self._note_computing()
        if probabilities is None:
            self._sizes.observe_failure(batch.size, done - started)
            probabilities = np.full((len(batch.instances), 1), np.nan, np.float32)
        else:
            self._sizes.observe(batch.size, done - started)
        is_good = np.isfinite(probabilities).all(axis=1)
        result = Result(probabilities, features, is_good)
        far = self.statistics.far(batch, running.images, result)
        if batch.size > 1:  # of those that failed, another image or the size of the batch may have been the cause
            self._batcher.add_again(i for i, good in zip(batch.instances, is_good, strict=True) if not good)
        shares: defaultdict[HttpWorker, list[int]] = defaultdict(list)  # places in the batch, by whose they are
        for place, (instance, good) in enumerate(zip(batch.instances, is_good.tolist(), strict=True)):
            if good or batch.size == 1:
                shares[instance.sender].append(place)
        for worker, places in shares.items():
            ids = [batch.instances[place].id for place in places]
            statuses = [messages.OK if good else messages.FAILED for good in is_good[places].tolist()]
            rows = zip(ids, statuses, far[places].tolist(), strict=True)
            self._workers.answer(worker, messages.reply(rows, probabilities[places], started, done))
        self.statistics.count(batch, started, done, result, far)

    def _result(self, running: Running) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Probabilities float32 (images, classes) and features; None where the backend raised."""
        if running.handle is None:
            return None, None
        count = len(running.batch.instances)
        try:
            probabilities = self._backend.finish(running.handle)[:count]
            features = self._backend.features(running.handle)
        except Exception:
            log.exception("a batch of %d failed", running.batch.size)
            return None, None
        return probabilities, None if features is None else features[:count]
