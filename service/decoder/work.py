"""What decoders are asked to do: to decode an image, or to parse a body. Each is a greenlet that others wait for."""

import contextlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import gevent
import numpy as np

from models.bundle.preprocessing import BadImage, HeavyImage, InputSpec
from service.decoder import jobs
from service.decoder.process import DecoderProcess
from service.errors import ServiceError, Unprocessable
from service.parsing.kinds import Kind

COSTLY = "The image could not be decoded within this request's time. Send it smaller, or as a baseline JPEG."
DIED = "The image is damaged, or needs too much memory: the process that decoded it has ended."
BODY_COSTLY = (
    "The body could not be parsed within this request's time. Send fewer numbers, images as encoded files, or tensors "
    "as binary."
)
BODY_DIED = "The body needs too much memory: the process that parsed it has ended."

T = TypeVar("T")
Decoded = tuple[np.ndarray, float]  # uint8 (H, W, C), and the seconds that it took


class Work(Generic[T]):
    """Whoever waits for it may go.

    Attributes:
        heavy_sort: of the decoder that does it if it takes long.
        light_bytes: if there are more, it is not even looked at by a decoder for light jobs: others wait for that.

    Args:
        attempt: has a decoder do it; of which sort is its other argument.
        deadline: in seconds of CLOCK_MONOTONIC.
    """

    heavy_sort: jobs.Sort
    light_bytes: int

    def __init__(self, attempt: "Callable[[Work[T], jobs.Sort], T]", data: bytes, deadline: float) -> None:
        self.data = data
        self.deadline = deadline
        self.is_given_up = False
        self._greenlet = gevent.spawn(self._run, attempt)

    def result(self) -> T:
        """
        Raises:
            BadImage, ServiceError: as `outcome`, `died` and `costly` say.
            DeadlineExceeded: no decoder was free in time.
            NotReady: none could be started.
        """
        try:
            outcome: T | Exception = self._greenlet.get()
        except BaseException:
            self.is_given_up = True
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _run(self, attempt: "Callable[[Work[T], jobs.Sort], T]") -> T | Exception:
        """An error is a value here: gevent prints every exception that ends a greenlet."""
        try:
            if len(self.data) <= self.light_bytes:
                with contextlib.suppress(HeavyImage):
                    return attempt(self, "light")
            return attempt(self, self.heavy_sort)
        except Exception as error:
            return error

    def job(self, *, may_be_heavy: bool) -> jobs.Job:
        raise NotImplementedError

    def outcome(self, decoder: DecoderProcess, result: jobs.Result) -> T | Exception:
        """What a decoder has made of it; read from its memory."""
        raise NotImplementedError

    def died(self) -> Exception:
        """To be raised if its decoder has ended."""
        raise NotImplementedError

    def costly(self) -> Exception:
        """To be raised if its decoder was killed at the deadline."""
        raise NotImplementedError


class Decoding(Work[Decoded]):
    """An image that is being decoded."""

    heavy_sort = "heavy"
    light_bytes = 8_000_000  # photographs of 12 million pixels have half of that

    def __init__(self, attempt: Any, data: bytes, spec: InputSpec, max_pixels: int, deadline: float) -> None:
        self._spec = spec
        self._max_pixels = max_pixels
        super().__init__(attempt, data, deadline)

    def job(self, *, may_be_heavy: bool) -> jobs.Job:
        return jobs.ImageJob(len(self.data), *self._spec.shape, self._spec.resize, self._max_pixels, may_be_heavy)

    def outcome(self, decoder: DecoderProcess, result: jobs.Result) -> Decoded | Exception:
        if result.ending == "done":
            return decoder.pixels(self._spec.shape), result.seconds
        if result.ending == "refused":
            refusal = decoder.said(result.length, jobs.Refusal)
            return BadImage(refusal.message, code=refusal.code)
        return HeavyImage() if result.ending == "heavy" else self.died()

    def died(self) -> Exception:
        return BadImage(DIED)

    def costly(self) -> Exception:
        return BadImage(COSTLY, code="image_too_costly")


class Parsing(Work[T]):
    """A body that is being parsed."""

    heavy_sort = "body"
    light_bytes = 4_000_000

    def __init__(self, attempt: Any, kind: Kind[T], body: bytes, arguments: tuple[Any, ...], deadline: float) -> None:
        self._kind = kind
        self._arguments = arguments
        super().__init__(attempt, body, deadline)

    def job(self, *, may_be_heavy: bool) -> jobs.Job:
        return jobs.BodyJob(len(self.data), self._kind.name, self._arguments, may_be_heavy)

    def outcome(self, decoder: DecoderProcess, result: jobs.Result) -> T | Exception:
        if result.ending == "done":
            return decoder.said(result.length, self._kind.result)
        if result.ending == "refused":
            refusal = decoder.said(result.length, jobs.Refusal)
            return ServiceError(refusal.message, status=refusal.status, code=refusal.code)
        return HeavyImage() if result.ending == "heavy" else RuntimeError("a decoder failed to parse a body; see above")

    def died(self) -> Exception:
        return Unprocessable(BODY_DIED, code="body_too_costly")

    def costly(self) -> Exception:
        return Unprocessable(BODY_COSTLY, code="body_too_costly")
