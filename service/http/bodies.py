"""Reading the body of a request: whole, within its time and its size."""

import contextlib
import io
from collections.abc import Iterator
from typing import IO

import gevent
from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from service.config import Config
from service.errors import BadRequest, ReadTimeout, TooLarge
from service.http.uploads import UPLOADS

PIECE_BYTES = 262_144  # of a body; reading them takes about 1 ms


def read_bytes(request: Request, config: Config) -> bytes:
    """The whole body, unpacked.

    Raises:
        TooLarge, ReadTimeout, BadRequest: it is too long, too slow, or no gzip as it says.
    """
    with in_time(config):
        body = read_in_pieces(request.stream)
    if len(body) > config.max_body_bytes:
        raise TooLarge(f"The body has more than {config.max_body_bytes:,} bytes.")
    return body


def read_in_pieces(stream: IO[bytes]) -> bytes:
    """All of a stream; other greenlets run in between, also if the whole body has arrived."""
    upload, body = UPLOADS.begin(), io.BytesIO()  # which takes no time in the end, as to join pieces would
    while not getattr(stream, "is_exhausted", False):  # Werkzeug takes one more read for a body that is too long
        piece = stream.read(PIECE_BYTES)
        if not piece:
            break
        body.write(piece)
        upload.has_read(len(piece))
    return body.getvalue()


@contextlib.contextmanager
def in_time(config: Config) -> Iterator[None]:
    """
    Raises:
        ReadTimeout: the body did not arrive in time.
        BadRequest: it ended too early, or came in chunks that are none.
    """
    try:
        with read_timeout(config.read_timeout_s):
            yield
    except ClientDisconnected:
        raise BadRequest("The body is shorter than its Content-Length says: it was cut off.") from None
    except ParseException as error:
        raise BadRequest(f"The body's chunks are malformed ({error}).") from None


@contextlib.contextmanager
def read_timeout(timeout_s: float) -> Iterator[None]:
    """
    Raises:
        ReadTimeout: the body did not arrive in time.
    """
    try:
        with gevent.Timeout(timeout_s):
            yield
    except gevent.Timeout:
        raise ReadTimeout(f"The body did not arrive within {timeout_s:g} s.") from None
