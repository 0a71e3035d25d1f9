"""A request -> encoded images: raw body, multipart form, or JSON with base64. Strict, bounded, and never a 500."""

import base64
import re
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from flask import Request
from msgspec import Meta

from service.config import Config
from service.errors import BadRequest, TooLarge
from service.http.bodies import in_time, read_bytes
from service.http.json_body import fit, parse_json

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
    """One image of a request."""

    data: bytes
    position: str = ""  # how an error names it; empty in a raw body, which has no other
    file: str | None = None  # the name that a form gave it


class Images(msgspec.Struct, forbid_unknown_fields=True):
    """Encoded images as base64, by itself or as data: URLs."""

    images: list[Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]]


def read_images(request: Request, config: Config) -> list[EncodedImage]:
    """Every image of a request, in order: raw body, form, or JSON with base64.

    Raises:
        BadRequest, TooLarge, Unprocessable: there is none, or it cannot be told from the body.
        ReadTimeout: the body did not arrive in time.
    """
    if request.mimetype == "multipart/form-data":
        with in_time(config):
            return read_form(request)
    return images_of(read_bytes(request, config), request.mimetype)


def images_of(body: bytes, mimetype: str) -> list[EncodedImage]:
    """Of a body that is no form: one image, or JSON."""
    is_json = mimetype == "application/json" or body.lstrip()[:1] == b"{"
    return read_json(body) if is_json else [EncodedImage(body)] if body else []


def check_count(count: int, config: Config) -> None:
    if not count:
        raise BadRequest(f"There is no image in the request. {ACCEPTED}")
    if count > config.max_images:
        raise TooLarge(f"{count} images came; at most {config.max_images} are taken in one request.")


def read_form(request: Request) -> list[EncodedImage]:
    files = [file for _, file in request.files.items(multi=True)]
    return [
        EncodedImage(file.read(), f"file {i} ({file.filename})" if file.filename else f"file {i}", file.filename)
        for i, file in enumerate(files)
    ]


def read_json(body: bytes) -> list[EncodedImage]:
    images = fit(parse_json(body), Images).images
    return [read_base64(image, f"images[{i}]") for i, image in enumerate(images)]


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


def hint_at_curl(mimetype: str, body: bytes) -> str:
    """A hint if the body looks like an image that `curl -d @FILE` has damaged."""
    if mimetype != "application/x-www-form-urlencoded" or any(byte in body for byte in STRIPPED):
        return ""
    return " If curl sent it, use --data-binary @FILE: -d @FILE removes line breaks and zero bytes."


def read_top_k(given: str | None) -> int:
    """`?top_k=`; more than there are classes means all of them."""
    return DEFAULT_TOP_K if given is None else whole_number("top_k", given, 999_999)


def whole_number(name: str, text: str, most: int) -> int:
    """A number from 1 to `most` in a request's query or headers."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 0 < int(text) <= most):
        raise BadRequest(f"{name} is {text[:50]!r}; it has to be a whole number from 1 to {most:,}.")
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
