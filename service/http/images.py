"""A request -> encoded images: raw body, multipart form, or JSON with base64. Strict, bounded, and never a 500."""

from typing import Any, Protocol, TypeVar

from flask import Request

from service.config import Config
from service.errors import BadRequest
from service.http.bodies import read_bytes
from service.parsing.forms import Form
from service.parsing.images import EncodedImage
from service.parsing.kinds import FORM, IMAGES, Kind

DEFAULT_TOP_K = 5
STRIPPED = (b"\n", b"\r", b"\0")  # by `curl -d @FILE`; hardly any image is without all of them

T = TypeVar("T")


class Parse(Protocol):
    """Parses a body, wherever that is done: `service.inference.service.Service.parse`."""

    def __call__(self, kind: Kind[T], body: bytes, *arguments: Any) -> T: ...


def read_images(request: Request, config: Config, parse: Parse) -> list[EncodedImage]:
    """Every image of a request, in order: raw body, form, or JSON with base64.

    Raises:
        BadRequest, TooLarge, Unprocessable: there is none, or it cannot be told from the body.
        ReadTimeout: the body did not arrive in time.
    """
    if request.mimetype == "multipart/form-data":
        return read_form(request, config, parse).files
    return images_of(read_bytes(request, config), request.mimetype, config, parse)


def images_of(body: bytes, mimetype: str, config: Config, parse: Parse) -> list[EncodedImage]:
    """Of a body that is no form: one image, or JSON."""
    if mimetype == "application/json" or body.lstrip()[:1] == b"{":
        return parse(IMAGES, body, config.max_images).encoded or []
    return [EncodedImage(body)] if body else []


def read_form(request: Request, config: Config, parse: Parse) -> Form:
    """A multipart form.

    Raises:
        TooLarge, ReadTimeout, BadRequest: as `read_bytes`, or it has too many parts.
    """
    body = read_bytes(request, config)
    return parse(FORM, body, request.headers.get("Content-Type", ""), config.max_images, config.max_body_bytes)


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
