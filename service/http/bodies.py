"""Reading the body of a request: whole, within its time and its size."""

import contextlib
from collections.abc import Iterator

import gevent
from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from service.config import Config
from service.errors import BadRequest, ReadTimeout, TooLarge


def read_bytes(request: Request, config: Config) -> bytes:
    """The whole body, unpacked.

    Raises:
        TooLarge, ReadTimeout, BadRequest: it is too long, too slow, or no gzip as it says.
    """
    with in_time(config):
        body = request.get_data(cache=False)
    if len(body) > config.max_body_bytes:
        raise TooLarge(f"The body has more than {config.max_body_bytes:,} bytes.")
    return body


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
