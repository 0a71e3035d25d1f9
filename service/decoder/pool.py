"""The decoder processes of one HTTP worker: some for light jobs, one for heavy images, one for heavy bodies.

What takes long must not hold up what does not. So a decoder for light jobs looks at an image's header, or counts the
values of a body, and hands a heavy one back; it is killed if a job takes long that did not look like it. Heavy images
are decoded by another process, one after another on the whole machine, in processor time that others leave. Heavy
bodies are parsed by a third. Both have until their request's deadline.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent.queue import Empty, LifoQueue

from models.bundle.preprocessing import HeavyImage, InputSpec
from service.decoder.backoff import Backoff
from service.decoder.jobs import Confinement, Sort
from service.decoder.process import DecoderDied, DecoderProcess
from service.decoder.work import Decoding, Parsing, Work
from service.errors import DeadlineExceeded, NotReady
from service.ipc.turn import Turn
from service.loops import repeat
from service.parsing.kinds import Kind

log = logging.getLogger(__name__)

LIGHT_S = 0.3  # processor time that a light job may take
LOOK_S = 0.05  # between looks at that
START_S = 120.0  # a decoder that is not ready after so long has failed; one starts in idle time
IDLE_S = 60.0  # after so long without a heavy job, its decoder ends
NONE_STARTED = "No process that decodes images could be started. Try again later."
LATE = "The deadline passed before a decoder was free. Try again later."

T = TypeVar("T")


class DecoderPool:
    """
    Args:
        count: of decoders for light jobs.
        max_bytes: of an encoded image or a body.
        max_pixels: as in models.bundle.preprocessing.decode_image.
        turn: a file that all workers have, so that one of them at a time decodes a heavy image.
        announce: is told of each decoder which limits hold for it.
    """

    def __init__(
        self,
        count: int,
        max_bytes: int,
        max_pixels: int,
        *,
        turn: Path | None = None,
        announce: Callable[[Confinement], None] = lambda confinement: None,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._turn = Turn(turn)
        self._announce = announce
        self._backoff = Backoff()
        # Decoders that have no work; None for one that has yet to be started.
        self._light: LifoQueue[DecoderProcess | None] = LifoQueue()
        self._heavy: LifoQueue[DecoderProcess | None] = LifoQueue()
        self._body: LifoQueue[DecoderProcess | None] = LifoQueue()
        self._queues = {"light": self._light, "heavy": self._heavy, "body": self._body}
        self._last_used: dict[Sort, float] = {}
        for _ in range(count):
            self._light.put(self._start("light"))
        self._heavy.put(None)
        self._body.put(None)
        gevent.spawn(self._introduce)
        gevent.spawn(repeat, self._end_idle, every_s=IDLE_S / 4)

    def start(self, data: bytes, spec: InputSpec, deadline: float) -> Decoding:
        """Begin to decode an image.

        Args:
            deadline: in seconds of CLOCK_MONOTONIC.
        """
        return Decoding(self._attempt, data, spec, self._max_pixels, deadline)

    def parse(self, kind: Kind[T], body: bytes, arguments: tuple[Any, ...], deadline: float) -> Parsing[T]:
        """Begin to parse a body."""
        return Parsing(self._attempt, kind, body, arguments, deadline)

    def _attempt(self, work: Work[T], sort: Sort) -> T:
        """
        Raises:
            BadImage, ServiceError: as `Work.result`.
            HeavyImage: a decoder for heavy jobs is to do it.
        """
        decoder = self._take(sort, work)
        if sort != "heavy":
            return self._do(work, sort, decoder)
        if not self._turn.take(work.deadline, lambda: work.is_given_up):
            self._heavy.put(decoder)
            raise DeadlineExceeded(LATE)
        try:
            return self._do(work, sort, decoder)
        finally:
            self._turn.release()

    def _do(self, work: Work[T], sort: Sort, decoder: DecoderProcess) -> T:
        killer = Killer(decoder, work, is_light=sort == "light")
        try:
            result = decoder.do(work.data, work.job(may_be_heavy=sort != "light"))
            outcome = work.outcome(decoder, result)
        except Exception as error:  # it has died, or what it said cannot be read: either way it is not asked again
            if not isinstance(error, DecoderDied):
                log.exception("a decoder is replaced: its answer could not be read")
            killer.stop()
            decoder.close()
            self._queues[sort].put(self._start(sort))
            raise killer.reason from None
        killer.stop()
        self._queues[sort].put(decoder)
        self._last_used[sort] = time.monotonic()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _take(self, sort: Sort, work: Work[Any]) -> DecoderProcess:
        queue = self._queues[sort]
        try:
            decoder = queue.get(timeout=max(0.0, work.deadline - time.monotonic()))
        except Empty:
            raise DeadlineExceeded(LATE) from None
        if work.is_given_up:
            queue.put(decoder)
            raise DeadlineExceeded(LATE)  # which nobody reads
        decoder = decoder or self._start(sort)
        if decoder is None:
            queue.put(None)
            raise NotReady(NONE_STARTED)
        if decoder.confinement is None:
            self._wait_until_ready(sort, decoder, work.deadline)
        return decoder

    def _start(self, sort: Sort) -> DecoderProcess | None:
        if not self._backoff.may_try():
            return None
        try:
            return DecoderProcess(self._max_bytes, sort)
        except OSError as error:  # no memory or no process to be had now
            self._backoff.note_failure(str(error))
            return None

    def _wait_until_ready(self, sort: Sort, decoder: DecoderProcess, deadline: float) -> None:
        """
        Raises:
            DeadlineExceeded: it was not ready in time; it may be for another.
            NotReady: it never will be.
        """
        try:
            with gevent.Timeout(max(0.0, deadline - time.monotonic())):
                decoder.wait_until_ready()
        except gevent.Timeout:
            if time.monotonic() - decoder.began < START_S:
                self._queues[sort].put(decoder)
                raise DeadlineExceeded(LATE) from None
            self._give_up(sort, decoder, f"one was not ready after {START_S:g} s")
        except Exception as error:  # it has died, or what it said cannot be read
            self._give_up(sort, decoder, f"one has ended before it was ready ({error!r})")
        self._backoff.note_success()
        assert decoder.confinement is not None
        self._announce(decoder.confinement)

    def _give_up(self, sort: Sort, decoder: DecoderProcess, reason: str) -> None:
        decoder.close()
        self._backoff.note_failure(reason)
        self._queues[sort].put(None)
        raise NotReady(NONE_STARTED)

    def _introduce(self) -> None:
        """Have the log say what holds for decoders before the first image comes."""
        decoder = self._light.get()
        try:
            if decoder is not None and decoder.confinement is None:
                self._wait_until_ready("light", decoder, time.monotonic() + START_S)
        except (DeadlineExceeded, NotReady):
            return  # the queue has it
        self._light.put(decoder)

    def _end_idle(self) -> None:
        for decoder in self._light.queue:  # those that have no work
            if decoder is not None:
                decoder.trim()
        for sort in ("heavy", "body"):
            queue = self._queues[sort]
            if time.monotonic() - self._last_used.get(sort, 0.0) > IDLE_S and not queue.empty():
                decoder = queue.get()
                queue.put(None)
                if decoder is not None:
                    decoder.close()


class Killer:
    """Kills a decoder that takes too long for its work; looks in gevent's event loop.

    Attributes:
        reason: why the decoder has died.
    """

    def __init__(self, decoder: DecoderProcess, work: Work[Any], *, is_light: bool) -> None:
        self._decoder = decoder
        self._work = work
        self._most_cpu_s = decoder.cpu_s() + LIGHT_S if is_light else float("inf")
        self.reason = work.died()
        self._timer = gevent.get_hub().loop.timer(LOOK_S, LOOK_S)
        self._timer.start(self._look)

    def stop(self) -> None:
        self._timer.stop()
        self._timer.close()

    def _look(self) -> None:
        if time.monotonic() >= self._work.deadline:
            self.reason = self._work.costly()
            self._decoder.kill()
        elif self._decoder.cpu_s() > self._most_cpu_s:
            self.reason = HeavyImage()
            self._decoder.kill()
