"""A request -> encoded images: raw body, multipart form, or JSON with base64. Strict, bounded, and never a 500."""

import base64
import binascii
import io
import json
from dataclasses import dataclass
from typing import Any, NoReturn

import gevent
from flask import Request

from service.errors import BadRequest, ReadTimeout, TooLarge, Unprocessable, UnsupportedEncoding

DEFAULT_TOP_K = 5
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


def read_images(request: Request, *, max_images: int, max_bytes: int, read_timeout_s: float) -> list[EncodedImage]:
    """Every image of a request, in order.

    Raises:
        BadRequest, TooLarge, Unprocessable, UnsupportedEncoding: there is none, or it cannot be told from the body.
        ReadTimeout: the body did not arrive in time.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedEncoding("Send the body without Content-Encoding; images are compressed already.")
    try:
        with gevent.Timeout(read_timeout_s):
            images = read_form(request) if request.mimetype == "multipart/form-data" else read_body(request, max_bytes)
    except gevent.Timeout:
        raise ReadTimeout(f"The body did not arrive within {read_timeout_s:g} s.") from None
    if not images:
        raise BadRequest(f"There is no image in the request. {ACCEPTED}")
    if len(images) > max_images:
        raise TooLarge(f"{len(images)} images came; at most {max_images} are taken in one request.")
    return images


def read_form(request: Request) -> list[EncodedImage]:
    files = [file for _, file in request.files.items(multi=True)]
    return [
        EncodedImage(file.read(), f"file {i} ({file.filename})" if file.filename else f"file {i}", file.filename)
        for i, file in enumerate(files)
    ]


def read_body(request: Request, max_bytes: int) -> list[EncodedImage]:
    body = request.get_data(cache=False)
    if len(body) > max_bytes:
        raise TooLarge(f"The body has more than {max_bytes:,} bytes.")
    if request.mimetype == "application/json" or body.lstrip()[:1] == b"{":
        return read_json(body)
    return [EncodedImage(body)] if body else []


def read_json(body: bytes) -> list[EncodedImage]:
    document = parse_json(body)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Unprocessable('The JSON has to be {"images": ["<base64>", ...]}: a list of strings.')
    if set(document) != {"images"}:
        raise Unprocessable(
            f"The JSON has the unknown key {min(set(document) - {'images'})[:100]!r}; only images is read."
        )
    return [EncodedImage(decode_base64(image, i), f"images[{i}]") for i, image in enumerate(images)]


def parse_json(body: bytes) -> Any:
    """Strict JSON: no NaN or Infinity, no repeated keys, UTF-8 without a byte-order mark.

    Raises:
        BadRequest: it is none.
    """
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON that we read: {str(error)[:200]}. {ACCEPTED}") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is repeated")
    return document


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def decode_base64(text: str, index: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(
            f"images[{index}] is not base64 of the standard alphabet, padded, without line breaks or a data: prefix."
        ) from None


def read_top_k(request: Request) -> int:
    """`?top_k=`, 1 or more; more than there are classes means all of them.

    Raises:
        BadRequest: it is no such number.
    """
    text = request.args.get("top_k", str(DEFAULT_TOP_K))
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0):
        raise BadRequest(f"top_k is {text[:50]!r}; it has to be a whole number from 1.")
    return int(text)
