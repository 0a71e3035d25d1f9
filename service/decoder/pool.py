"""The decoder processes of one HTTP worker: some for ordinary images, and one of low priority for heavy ones.

Images that take long must not hold up those that do not. So a decoder for ordinary images looks at an image's header
first and hands a heavy one back, and is killed if an image takes long that did not look like it. Such images are
decoded by another process, one after another, in processor time that others leave, until their request's deadline.
"""

import logging
import time
from typing import Any, NoReturn

import gevent
import numpy as np
from gevent.queue import Empty, LifoQueue

from models.bundle.preprocessing import BadImage, HeavyImage, InputSpec
from service.decoder.process import DecoderDied, DecoderProcess
from service.errors import DeadlineExceeded, NotReady
from service.loops import repeat

log = logging.getLogger(__name__)

LIGHT_S = 0.3  # processor time that an ordinary image may take
LOOK_S = 0.05  # between looks at that
IDLE_S = 60.0  # after so long without a heavy image, its decoder ends
COSTLY = "The image could not be decoded within this request's time. Send it smaller, or as a baseline JPEG."
DIED = "The image is damaged, or needs too much memory: the process that decoded it has ended."
NONE_STARTED = "No process that decodes images could be started. Try again later."
LATE = "The deadline passed before a decoder was free. Try again later."

Decoded = tuple[np.ndarray, float]  # uint8 (H, W, C), and the seconds that it took
Outcome = Decoded | Exception


class DecoderPool:
    """
    Args:
        count: of decoders for ordinary images.
        max_bytes: of an encoded image.
        max_pixels: as in models.bundle.preprocessing.decode_image.
    """

    def __init__(self, count: int, max_bytes: int, max_pixels: int) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        # Decoders that have no work; None for one that has yet to be started.
        self._light: LifoQueue[DecoderProcess | None] = LifoQueue()
        self._heavy: LifoQueue[DecoderProcess | None] = LifoQueue()
        for _ in range(count):
            self._light.put(self._start(heavy=False))
        self._heavy.put(None)
        self._last_heavy = 0.0
        gevent.spawn(repeat, self._end_idle, every_s=IDLE_S / 4)

    def start(self, data: bytes, spec: InputSpec, deadline: float) -> "Decoding":
        """Begin to decode an image.

        Args:
            deadline: in seconds of CLOCK_MONOTONIC.
        """
        return Decoding(self, data, spec, deadline)

    def attempt(self, decoding: "Decoding", *, heavy: bool) -> Decoded:
        """
        Raises:
            BadImage, DeadlineExceeded, NotReady: as `Decoding.result`.
            HeavyImage: a decoder for heavy images is to do it.
        """
        decoders = self._heavy if heavy else self._light
        decoder = self._take(decoders, decoding, heavy=heavy)
        killer = Killer(decoder, decoding.deadline, heavy=heavy)
        try:
            result, pixels = decoder.decode(decoding.data, decoding.spec, self._max_pixels, may_be_heavy=heavy)
        except Exception as error:  # it has died, or what it said cannot be read: either way it is not asked again
            if not isinstance(error, DecoderDied):
                log.exception("a decoder is replaced: its answer could not be read")
            killer.stop()
            decoder.close()
            decoders.put(self._start(heavy=heavy))
            killer.explain()
        killer.stop()
        decoders.put(decoder)
        if heavy:
            self._last_heavy = time.monotonic()
        if pixels is not None:
            return pixels, result.seconds
        if result.ending == "heavy":
            raise HeavyImage
        raise BadImage(result.message, code=result.code)

    def _take(self, decoders: Any, decoding: "Decoding", *, heavy: bool) -> DecoderProcess:
        try:
            decoder = decoders.get(timeout=max(0.0, decoding.deadline - time.monotonic()))
        except Empty:
            raise DeadlineExceeded(LATE) from None
        if decoding.is_given_up:
            decoders.put(decoder)
            raise DeadlineExceeded(LATE)  # which nobody reads
        decoder = decoder or self._start(heavy=heavy)
        if decoder is None:
            decoders.put(None)
            raise NotReady(NONE_STARTED)
        return decoder

    def _start(self, *, heavy: bool) -> DecoderProcess | None:
        try:
            return DecoderProcess(self._max_bytes, heavy=heavy)
        except OSError as error:  # no memory or no process to be had now; it is tried again for the next image
            log.error("no decoder could be started: %s", error)
            return None

    def _end_idle(self) -> None:
        for decoder in self._light.queue:  # those that have no work
            if decoder is not None:
                decoder.trim()
        if time.monotonic() - self._last_heavy > IDLE_S and not self._heavy.empty():
            decoder = self._heavy.get()
            self._heavy.put(None)
            if decoder is not None:
                decoder.close()


class Decoding:
    """An image that is being decoded, in a greenlet of its own: whoever waits for it may go."""

    def __init__(self, pool: DecoderPool, data: bytes, spec: InputSpec, deadline: float) -> None:
        self.data = data
        self.spec = spec
        self.deadline = deadline
        self.is_given_up = False
        self._greenlet = gevent.spawn(self._run, pool)

    def result(self) -> Decoded:
        """
        Raises:
            BadImage: it cannot be decoded, or not in time.
            DeadlineExceeded: no decoder was free in time.
            NotReady: none could be started.
        """
        try:
            outcome: Outcome = self._greenlet.get()
        except BaseException:
            self.is_given_up = True
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _run(self, pool: DecoderPool) -> Outcome:
        """An error is a value here: gevent prints every exception that ends a greenlet."""
        try:
            try:
                return pool.attempt(self, heavy=False)
            except HeavyImage:
                return pool.attempt(self, heavy=True)
        except Exception as error:
            return error


class Killer:
    """Kills a decoder that takes too long for an image; looks in gevent's event loop."""

    def __init__(self, decoder: DecoderProcess, deadline: float, *, heavy: bool) -> None:
        self._decoder = decoder
        self._deadline = deadline
        self._most_cpu_s = float("inf") if heavy else decoder.cpu_s() + LIGHT_S
        self._reason: Exception = BadImage(DIED)
        self._timer = gevent.get_hub().loop.timer(LOOK_S, LOOK_S)
        self._timer.start(self._look)

    def stop(self) -> None:
        self._timer.stop()
        self._timer.close()

    def explain(self) -> NoReturn:
        """Why the decoder has died."""
        if self._decoder.confinement is None:
            raise NotReady(NONE_STARTED)
        raise self._reason

    def _look(self) -> None:
        if time.monotonic() >= self._deadline:
            self._reason = BadImage(COSTLY, code="image_too_costly")
            self._decoder.kill()
        elif self._decoder.confinement is not None and self._decoder.cpu_s() > self._most_cpu_s:
            self._reason = HeavyImage()
            self._decoder.kill()
