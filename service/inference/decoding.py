"""Decoding the images of a request, in the threads of a worker."""

import time
from functools import partial

import numpy as np
from flask import request
from gevent.threadpool import ThreadPool

from models.bundle.preprocessing import BadImage, InputSpec, decode_image, is_tiny
from service.errors import from_bad_image
from service.http.images import EncodedImage, hint_at_curl
from service.http.in_thread import in_thread, start
from service.inference.targets import Target
from service.telemetry.metrics import DECODE
from service.telemetry.request_record import record


class Decoders:
    """Threads that decode; Pillow releases the interpreter's lock while it does.

    Args:
        max_pixels: limit on width times height of an encoded image.
    """

    def __init__(self, num_threads: int, max_pixels: int) -> None:
        self._threads = ThreadPool(num_threads)
        self._max_pixels = max_pixels

    def decode(self, target: Target, encoded: list[EncodedImage]) -> list[np.ndarray]:
        """uint8 images (H, W, C) as the target takes them. Tiny ones are decoded here: a thread would take longer.

        Raises:
            ServiceError: the first image that cannot be decoded; says which of the request's it is.
        """
        began = time.monotonic()
        decode = partial(timed_decode, target.spec, self._max_pixels)
        results = [
            partial(decode, image.data) if is_tiny(image.data) else start(self._threads, decode, image.data)
            for image in encoded
        ]
        images = []
        for image, result in zip(encoded, results, strict=True):
            decoded, seconds = result()
            DECODE.labels(target.name, str(target.version)).observe(seconds)
            if isinstance(decoded, BadImage):
                hint = "" if image.position else hint_at_curl(request, image.data)
                raise from_bad_image(decoded, image.position, hint)
            images.append(decoded)
        record().stages.append(("decode", began, time.monotonic()))
        return images

    def check(self, data: bytes, spec: InputSpec) -> None:
        """
        Raises:
            BadImage: `data` cannot be decoded.
        """
        decoded, _ = in_thread(self._threads, timed_decode, spec, self._max_pixels, data)
        if isinstance(decoded, BadImage):
            raise decoded


def timed_decode(spec: InputSpec, max_pixels: int, data: bytes) -> tuple[np.ndarray | BadImage, float]:
    """The decoded image or why there is none, and the seconds that it took."""
    started = time.perf_counter()
    try:
        return decode_image(data, spec, max_pixels=max_pixels), time.perf_counter() - started
    except BadImage as error:
        return error, time.perf_counter() - started
