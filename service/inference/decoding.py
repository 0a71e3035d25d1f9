"""Parsing the body of a request and decoding its images: here what is small, and in decoder processes the rest."""

import logging
import os
import time
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from models.bundle.preprocessing import BadImage, InputSpec, decode_image, is_tiny
from service.config import Config
from service.decoder.jobs import Confinement
from service.decoder.pool import DecoderPool
from service.decoder.process import DATA_BYTES
from service.decoder.work import Decoded, Decoding
from service.errors import Overloaded, from_bad_image
from service.http.disconnect import while_client_stays
from service.http.images import hint_at_curl
from service.inference.targets import Target
from service.machine import available_cores
from service.parsing.images import EncodedImage
from service.parsing.kinds import Kind
from service.telemetry.request_record import record

log = logging.getLogger(__name__)

INLINE_BYTES = 65_536  # of a body; whatever they are, they are parsed in less than 15 ms
T = TypeVar("T")


class Decoders:
    """Decodes tiny images here, which takes less time than to ask another process, and all others in processes.

    Args:
        runtime: the private directory of the service, which all HTTP workers share.
    """

    def __init__(self, config: Config, runtime: Path) -> None:
        self._config = config
        self._runtime = runtime
        self._pool = DecoderPool(
            num_decoders(config),
            config.max_body_bytes,
            config.max_pixels,
            turn=runtime / "heavy-images.lock",
            announce=self._announce,
        )
        self._bytes_to_parse = 0  # of bodies that a decoder has or will get

    def parse(self, kind: Kind[T], body: bytes, arguments: tuple[Any, ...], deadline: float) -> T:
        """What a body says; a small one is parsed here.

        Raises:
            ServiceError: it says nothing of the kind, or takes too long.
            Overloaded: too many bytes wait to be parsed.
        """
        if kind.num_bytes(body, *arguments) <= INLINE_BYTES:
            return kind.read(body, *arguments)
        if self._bytes_to_parse + len(body) > max(self._config.queue_bytes, self._config.max_body_bytes):
            raise Overloaded("Too many large bodies wait to be parsed. Try again later.")
        self._bytes_to_parse += len(body)
        try:
            with while_client_stays():
                return self._pool.parse(kind, body, arguments, deadline).result()
        finally:
            self._bytes_to_parse -= len(body)

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

    def _announce(self, confinement: Confinement) -> None:
        """Say once for all workers which limits hold for decoders."""
        try:
            os.close(os.open(self._runtime / "confinement-is-logged", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return
        log_confinement(confinement)

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


def log_confinement(confinement: Confinement) -> None:
    limits = {
        "no new privileges (no_new_privs)": confinement.no_new_privileges,
        "filtered system calls (seccomp)": confinement.system_calls == "filtered",
        f"at most {DATA_BYTES:,} bytes of memory for an image (RLIMIT_DATA)": confinement.memory,
        "limited processor time (RLIMIT_CPU)": True,
    }
    log.info("decoders have: %s", ", ".join(what for what, holds in limits.items() if holds))
    missing = [what for what, holds in limits.items() if not holds]
    if missing:
        log.warning("decoders lack: %s. System calls are %s.", ", ".join(missing), confinement.system_calls)
