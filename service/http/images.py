"""A request -> encoded images: raw body, multipart form, or JSON with base64. Strict, bounded, and never a 500."""

import base64
import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import gevent
import numpy as np
from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from service.config import Config
from service.errors import BadRequest, ReadTimeout, TooLarge, Unprocessable

DEFAULT_TOP_K = 5
DATA_URL = re.compile(r"\s*data:[^,]*;base64,", re.IGNORECASE)
MAX_PREFIX = 200  # characters of a data: URL before its base64
STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
BLANKS = b" \t\r\n"
STRIPPED = (b"\n", b"\r", b"\0")  # by `curl -d @FILE`; hardly any image is without all of them
ACCEPTED = (
    "Send an encoded image as the body, multipart/form-data with one or more files, "
    'or JSON {"images": ["<base64>", ...]}.'
)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One image of a request.

    Attributes:
        position: how an error names it; empty in a raw body, which has no other.
        file: the name that a form gave it.
    """

    data: bytes
    position: str = ""
    file: str | None = None


class ServiceRequest(Request):
    """A request whose uploaded files stay in memory: they are bounded, and the disk may be read-only."""

    def _get_file_stream(self, *args: Any, **kwargs: Any) -> io.BytesIO:
        return io.BytesIO()


def read_images(request: Request, config: Config) -> list[EncodedImage]:
    """Every image of a request, in order: raw body, form, or JSON with base64.

    Raises:
        BadRequest, TooLarge, Unprocessable: there is none, or it cannot be told from the body.
        ReadTimeout: the body did not arrive in time.
    """
    if request.mimetype == "multipart/form-data":
        with in_time(config):
            images = read_form(request)
    else:
        body = read_bytes(request, config)
        is_json = request.mimetype == "application/json" or body.lstrip()[:1] == b"{"
        images = read_json(body) if is_json else [EncodedImage(body)] if body else []
    return checked(images, config)


def checked(images: list[EncodedImage], config: Config) -> list[EncodedImage]:
    """
    Raises:
        BadRequest: there is none.
        TooLarge: there are too many.
    """
    if not images:
        raise BadRequest(f"There is no image in the request. {ACCEPTED}")
    if len(images) > config.max_images:
        raise TooLarge(f"{len(images)} images came; at most {config.max_images} are taken in one request.")
    return images


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
        with gevent.Timeout(config.read_timeout_s):
            yield
    except gevent.Timeout:
        raise ReadTimeout(f"The body did not arrive within {config.read_timeout_s:g} s.") from None
    except ClientDisconnected:
        raise BadRequest("The body is shorter than its Content-Length says: it was cut off.") from None
    except ParseException as error:
        raise BadRequest(f"The body's chunks are malformed ({error}).") from None


def read_form(request: Request) -> list[EncodedImage]:
    files = [file for _, file in request.files.items(multi=True)]
    return [
        EncodedImage(file.read(), f"file {i} ({file.filename})" if file.filename else f"file {i}", file.filename)
        for i, file in enumerate(files)
    ]


def read_json(body: bytes) -> list[EncodedImage]:
    document = parse_json(body)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Unprocessable('The JSON has to be {"images": ["<base64>", ...]}: a list of strings.')
    if set(document) != {"images"}:
        raise Unprocessable(
            f"The JSON has the unknown key {min(set(document) - {'images'})[:100]!r}; only images is read."
        )
    return [read_base64(image, f"images[{i}]") for i, image in enumerate(images)]


def parse_json(body: bytes) -> Any:
    """Strict JSON: no NaN or Infinity, no repeated keys, UTF-8 without a byte-order mark.

    Raises:
        BadRequest: it is none.
    """
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON that we read: {str(error)[:200]}.") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is repeated")
    return document


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_base64(text: str, position: str) -> EncodedImage:
    """Base64 as encoders write it: of either alphabet, padded or not, in one line or several, as a data: URL.

    Raises:
        BadRequest: it is none; says where.
    """
    try:
        prefix = DATA_URL.match(text, 0, MAX_PREFIX)
        packed = text[prefix.end() :] if prefix else text
        digits = packed.encode("ascii").translate(STANDARD_ALPHABET, delete=BLANKS).rstrip(b"=")
        return EncodedImage(base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True), position)
    except ValueError:  # so are binascii.Error and UnicodeEncodeError
        raise BadRequest(
            f"{position} is not base64. Send the base64 of an encoded image, by itself or as a data: URL "
            "(data:image/jpeg;base64,...)."
        ) from None


def hint_at_curl(request: Request, body: bytes) -> str:
    """What to tell who sent a body that is no image, where it looks as `curl -d @FILE` would have left one."""
    if request.mimetype != "application/x-www-form-urlencoded" or any(byte in body for byte in STRIPPED):
        return ""
    return " If curl sent it, use --data-binary @FILE: -d @FILE removes line breaks and zero bytes."


def read_top_k(request: Request) -> int:
    """`?top_k=`, 1 or more; more than there are classes means all of them.

    Raises:
        BadRequest: it is no such number.
    """
    text = request.args.get("top_k", str(DEFAULT_TOP_K))
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0):
        raise BadRequest(f"top_k is {text[:50]!r}; it has to be a whole number from 1.")
    return int(text)


def pixels_of(values: list[Any], position: str) -> np.ndarray:
    """Whole numbers from 0 to 255, in lists of whatever depth -> uint8 of that shape.

    Raises:
        BadRequest: they are something else.
    """
    leaves = values
    while leaves and all(isinstance(leaf, list) for leaf in leaves):
        leaves = [item for leaf in leaves for item in leaf]
    ragged = BadRequest(f"{position} is ragged: lists of one depth have to be of one length.")
    if any(isinstance(leaf, list) for leaf in leaves):
        raise ragged
    if not all(type(leaf) is int and 0 <= leaf <= 255 for leaf in leaves):  # NumPy would take strings, at any cost
        raise BadRequest(f"{position} is not of expected type: uint8, whole numbers from 0 to 255.")
    try:
        return np.array(values, np.uint8)
    except ValueError:
        raise ragged from None
