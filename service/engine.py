"""The engine process: one model version, one loop. `python -m service.engine` is started by the supervisor only.

It reports to the supervisor in JSON lines on its standard output: `ready`, `failed` with a reason, and a `beat`
every second for as long as it is not stuck in a batch.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from models.bundle import Manifest
from service import wire
from service.backends import Backend, load
from service.batcher import Batcher, Instance, is_cancellation, read_instance, stack
from service.logs import configure_logging
from service.machine import die_with_parent
from service.metrics import EngineMetrics

log = logging.getLogger(__name__)

BEAT_S = 1.0
IDLE_BEFORE_STOP_MS = 1000  # a retiring engine waits this long for requests already on their way


class Engine:
    """Receives images, computes them in batches, sends probabilities back.

    Attributes:
        batch_started: when the batch being computed was begun; None between batches.
    """

    def __init__(self, backend: Backend, manifest: Manifest, endpoint: str, version: int) -> None:
        self._backend = backend
        self._shape = manifest.input_spec.shape
        self._batcher = Batcher(backend.batch_sizes)
        self._metrics = EngineMetrics(manifest.model, version)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # the HTTP workers bound the queue
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.bind(endpoint)
        self._suspect = os.open(endpoint.removeprefix("ipc://") + ".suspect", os.O_WRONLY | os.O_CREAT, 0o600)
        self._stopping = False
        self.batch_started: float | None = None

    def run(self) -> None:
        """Until asked to stop and nothing has come for a second."""
        while self._receive():
            batch, expired = self._batcher.next_batch()
            for instance in expired:
                self._reply(instance, wire.EXPIRED)
            if batch:
                self._compute(batch)

    def stop(self) -> None:
        self._stopping = True

    def _receive(self) -> bool:
        """Take in all that has come; wait only while nobody does. False: stop."""
        if not self._batcher:
            while not self._socket.poll(IDLE_BEFORE_STOP_MS):
                if self._stopping:
                    return False
        with contextlib.suppress(zmq.Again):
            while True:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
                instance = read_instance(frames)
                if is_cancellation(frames):
                    self._batcher.discard(frames[1])
                elif instance is None:
                    log.warning("dropped a message that is no request")
                elif len(instance.pixels) != int(np.prod(self._shape)):
                    self._reply(instance, wire.REFUSED)
                else:
                    self._batcher.add(instance)
        return True

    def _compute(self, batch: list[Instance]) -> None:
        if batch[0].deaths:  # if it kills us, this tells the worker whose fault it was
            os.pwrite(self._suspect, batch[0].id, 0)
        self.batch_started = started = time.monotonic()
        try:
            probabilities = self._backend.infer(stack(batch, self._shape))
            sound = bool(np.isfinite(probabilities).all())
        except Exception:
            log.exception("a batch of %d failed", len(batch))
            sound = False
        self.batch_started, done = None, time.monotonic()
        self._metrics.observe_batch(len(batch), done - started)
        for i, instance in enumerate(batch):
            self._metrics.observe_wait(started - instance.sent)
            answer = probabilities[i].tobytes() if sound else b""
            self._reply(instance, wire.OK if sound else wire.FAILED, answer, started, done)

    def _reply(
        self, instance: Instance, status: int, probabilities: bytes = b"", started: float = 0.0, done: float = 0.0
    ) -> None:
        header = wire.REPLY.pack(instance.id, status, started, done)
        self._socket.send_multipart([instance.sender, header, probabilities])


def report(event: str, **details: Any) -> None:
    """One line to the supervisor; it is gone if there is nobody to read it, and so are we soon."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps({"event": event, **details}).encode() + b"\n")


def beat(engine: Engine) -> None:
    while True:
        started = engine.batch_started
        if started is None or time.monotonic() - started < BEAT_S:
            report("beat")
        time.sleep(BEAT_S)


def main(settings: dict[str, Any]) -> None:
    die_with_parent(signal.SIGKILL)
    configure_logging(settings["log_level"], settings["log_format"])
    bundle = Path(settings["bundle"])
    try:
        backend, manifest = load(bundle, settings["engine"], settings["precision"], settings["max_batch_size"])
    except Exception as error:  # whatever a broken model makes its loader raise; the supervisor says it aloud
        report("failed", reason=f"{error}"[:500] or type(error).__name__)
        sys.exit(1)
    engine = Engine(backend, manifest, settings["endpoint"], settings["version"])
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    report("ready", precision=backend.precision)
    threading.Thread(target=beat, args=(engine,), daemon=True).start()
    engine.run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
