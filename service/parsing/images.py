"""Images in JSON: encoded ones as base64, or pixels as nested lists of numbers."""

import base64
import re
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from service.errors import BadRequest, TooLarge
from service.parsing.json_document import fit, parse_json

DATA_URL = re.compile(r"\s*data:[^,]*;base64,", re.IGNORECASE)
MAX_PREFIX = 200  # characters of a data: URL before its base64
STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
BLANKS = b" \t\r\n"
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


class Batch(msgspec.Struct):
    """The images of a body, in a form that passes between processes: encoded ones, or the bytes of their pixels."""

    encoded: list[EncodedImage] | None = None
    pixels: bytes = b""
    shape: list[int] = []

    @classmethod
    def of(cls, images: list[EncodedImage] | np.ndarray, max_images: int) -> "Batch":
        """
        Raises:
            TooLarge: there are more images.
        """
        if len(images):  # that there is none is said where they are classified
            check_count(len(images), max_images)
        return cls(images) if isinstance(images, list) else cls(None, images.tobytes(), list(images.shape))

    @property
    def images(self) -> list[EncodedImage] | np.ndarray:
        """Encoded, or pixels uint8 (N, ...)."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.shape) if self.encoded is None else self.encoded


def check_count(count: int, max_images: int) -> None:
    """
    Raises:
        BadRequest, TooLarge: a request has no image, or more than `max_images`.
    """
    if not count:
        raise BadRequest(f"There is no image in the request. {ACCEPTED}")
    if count > max_images:
        raise TooLarge(f"{count} images came; at most {max_images} are taken in one request.")


def read_base64_images(body: bytes, max_images: int) -> Batch:
    """JSON as `Images`.

    Raises:
        BadRequest, TooLarge, Unprocessable: it is something else, or too much.
    """
    images = fit(parse_json(body), Images).images
    return Batch.of([read_base64(image, f"images[{i}]") for i, image in enumerate(images)], max_images)


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


def pixels_of(values: list[Any], position: str) -> np.ndarray:
    """Whole numbers from 0 to 255, in lists of whatever depth -> uint8 of that shape.

    Raises:
        BadRequest: they are something else.
    """
    # without a line of Python for each number: of a few million it would take seconds
    leaves, shape, is_ragged = values, [len(values)], False
    while set(map(type, leaves)) == {list}:
        lengths = set(map(len, leaves))
        is_ragged |= len(lengths) > 1
        shape.append(max(lengths))
        leaves = list(chain.from_iterable(leaves))
    kinds = set(map(type, leaves))
    ragged = BadRequest(f"{position} is ragged: lists of one depth have to be of one length.")
    if list in kinds:
        raise ragged
    wrong = BadRequest(f"{position} is not of expected type: uint8, whole numbers from 0 to 255.")
    if not kinds <= {int}:
        raise wrong
    try:
        pixels = bytes(leaves)
    except (ValueError, OverflowError):
        raise wrong from None
    if is_ragged:
        raise ragged
    return np.frombuffer(pixels, np.uint8).reshape(shape)
