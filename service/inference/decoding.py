"""Decoding the images of a request."""

import time

import numpy as np

from models.bundle.preprocessing import BadImage, InputSpec, decode_image, is_tiny
from service.config import Config
from service.decoder.pool import Decoded, DecoderPool, Decoding
from service.errors import from_bad_image
from service.http.images import EncodedImage, hint_at_curl
from service.inference.targets import Target
from service.machine import available_cores
from service.telemetry.request_record import record


class Decoders:
    """Decodes tiny images here, which takes less time than to ask another process, and all others in processes."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pool = DecoderPool(num_decoders(config), config.max_body_bytes, config.max_pixels)

    def decode(self, target: Target, encoded: list[EncodedImage]) -> list[np.ndarray]:
        """uint8 images (H, W, C) as the target takes them.

        Raises:
            ServiceError: the first image that cannot be decoded; says which of the request's it is.
        """
        began = time.monotonic()
        started = [self._start(image.data, target.spec, target.deadline) for image in encoded]
        images = []
        try:
            for image, decoding in zip(encoded, started, strict=True):
                pixels, seconds = self._result(image.data, target.spec, decoding)
                record().decode_s.append(seconds)
                images.append(pixels)
        except BadImage as error:
            hint = "" if image.position else hint_at_curl(record().mimetype, image.data)
            raise from_bad_image(error, image.position, hint) from None
        finally:
            for decoding in filter(None, started):
                decoding.is_given_up = True
        record().stages.append(("decode", began, time.monotonic()))
        return images

    def check(self, data: bytes, spec: InputSpec) -> None:
        """
        Raises:
            BadImage: `data` cannot be decoded.
        """
        self._result(data, spec, self._start(data, spec, time.monotonic() + self._config.deadline_s))

    def _start(self, data: bytes, spec: InputSpec, deadline: float) -> Decoding | None:
        return None if is_tiny(data) else self._pool.start(data, spec, deadline)

    def _result(self, data: bytes, spec: InputSpec, decoding: Decoding | None) -> Decoded:
        if decoding is not None:
            return decoding.result()
        started = time.perf_counter()
        return decode_image(data, spec, max_pixels=self._config.max_pixels), time.perf_counter() - started


def num_decoders(config: Config) -> int:
    """For ordinary images, of each HTTP worker: of all workers together about one a core."""
    return -(-available_cores() // (config.workers or available_cores()))
