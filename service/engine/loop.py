"""The engine's loop: receives images, computes them in batches, sends probabilities back."""

import contextlib
import logging
import os
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq

from service.engine.batcher import Batch, Batcher, Instance, is_cancellation, read_instance, stack
from service.engine.loading import Loaded
from service.ipc import messages
from service.telemetry.metrics import engine_series

log = logging.getLogger(__name__)

IDLE_BEFORE_STOP_MS = 1000  # a retiring engine waits this long for requests already on their way


@dataclass(frozen=True, slots=True)
class Running:
    """A batch that the backend has begun."""

    batch: Batch
    started: float
    handle: Any  # the backend's; None where it raised


class Engine:
    """One model version's loop."""

    def __init__(self, loaded: Loaded, endpoint: str, version: int) -> None:
        self._backend = loaded.backend
        self._shape = loaded.manifest.input_spec.shape
        self._num_bytes = int(np.prod(self._shape))
        self._sizes = loaded.sizes()
        self._batcher = Batcher(self._sizes)
        self._running: deque[Running] = deque()
        self._wait, self._batch_size, self._inference, self._last = engine_series(loaded.manifest.model, version)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # the HTTP workers bound the queue
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.bind(endpoint)
        self._computing = os.open(messages.computing_file(endpoint), os.O_WRONLY | os.O_CREAT, 0o600)
        self._stopping = False
        self.busy_since: float | None = None  # when the batch being computed was begun; None between batches
        self._last_done = 0.0

    def run(self) -> None:
        """Until asked to stop and nothing has come for a second."""
        while self._receive():
            batch, expired = self._batcher.next_batch()
            for instance in expired:
                self._reply(instance, messages.EXPIRED)
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
        """Take in all that has come; wait only while nobody does. False: stop."""
        if not self._batcher and not self._running:
            while not self._socket.poll(IDLE_BEFORE_STOP_MS):
                if self._stopping:
                    return False
        with contextlib.suppress(zmq.Again):
            while True:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
                if is_cancellation(frames):
                    self._batcher.discard(frames[1])
                    continue
                instance = read_instance(frames)
                if instance is None:
                    log.warning("dropped a message that is no request")
                elif len(instance.pixels) != self._num_bytes:
                    self._reply(instance, messages.REFUSED)
                else:
                    self._batcher.add(instance)
        return True

    def _start(self, batch: Batch) -> None:
        self._note_computing(batch)
        started, handle = time.monotonic(), None
        if self.busy_since is None:
            self.busy_since = started
        try:
            handle = self._backend.start(stack(batch, self._shape))
        except Exception:
            log.exception("a batch of %d failed", batch.size)
        self._running.append(Running(batch, started, handle))

    def _note_computing(self, *starting: Batch) -> None:
        """If the engine dies, this tells the HTTP workers which images may have been the cause."""
        batches = [*(running.batch for running in self._running), *starting]
        ids = [instance.id for batch in batches for instance in batch.instances]
        os.pwrite(self._computing, b"".join(ids) + messages.NO_ID, 0)

    def _finish_all_but(self, count: int) -> None:
        while len(self._running) > count:
            self._finish(self._running.popleft())

    def _finish(self, running: Running) -> None:
        probabilities = self._result(running)
        started, done = max(running.started, self._last_done), time.monotonic()  # it began when the one before was done
        self._last_done = done
        self.busy_since = done if self._running else None
        self._note_computing()
        self._batch_size.observe(len(running.batch.instances))
        self._inference.observe(done - started)
        self._last.set(time.time())
        if probabilities is None:
            answers: list[bytes | None] = [None] * len(running.batch.instances)
            self._sizes.observe_failure(running.batch.size, done - started)
        else:
            self._sizes.observe(running.batch.size, done - started)
            answers = [row.tobytes() if np.isfinite(row).all() else None for row in probabilities]
        again = []
        for instance, answer in zip(running.batch.instances, answers, strict=True):
            if answer is None and running.batch.size > 1:
                again.append(instance)  # another image, or the size of the batch, may have been the cause
                continue
            self._wait.observe(started - instance.sent)
            self._reply(instance, messages.FAILED if answer is None else messages.OK, answer or b"", started, done)
        self._batcher.add_again(again)

    def _result(self, running: Running) -> np.ndarray | None:
        """Probabilities (images, classes); None where the backend raised."""
        if running.handle is None:
            return None
        try:
            return self._backend.finish(running.handle)[: len(running.batch.instances)]
        except Exception:
            log.exception("a batch of %d failed", running.batch.size)
            return None

    def _reply(
        self, instance: Instance, status: int, probabilities: bytes = b"", started: float = 0.0, done: float = 0.0
    ) -> None:
        reply = messages.REPLY.pack(instance.id, status, started, done) + probabilities
        self._socket.send_multipart([instance.sender, reply])
