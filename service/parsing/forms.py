"""Multipart forms, by Werkzeug's parser: of a whole body, since a decoder cannot wait for a client."""

import io
from typing import Any

import msgspec
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from service.errors import TooLarge
from service.parsing.images import EncodedImage

MORE_PARTS = 10  # that a form may have beside its images
TOO_LARGE = "The body, or the number of its parts, is over the limit (SERVICE_MAX_BODY_BYTES, SERVICE_MAX_IMAGES)."


class Form(msgspec.Struct):
    """Its files, in order, and the first value of each of its fields."""

    files: list[EncodedImage]
    fields: dict[str, str]


def in_memory(*_: Any, **__: Any) -> io.BytesIO:
    return io.BytesIO()


def read_form(body: bytes, content_type: str, max_images: int, max_bytes: int) -> Form:
    """A malformed form has neither files nor fields.

    Raises:
        TooLarge: it has too many parts.
    """
    parser = FormDataParser(in_memory, max_form_memory_size=max_bytes, max_form_parts=max_images + MORE_PARTS)
    mimetype, options = parse_options_header(content_type)
    try:
        _, fields, files = parser.parse(io.BytesIO(body), mimetype, len(body), options)
    except RequestEntityTooLarge:
        raise TooLarge(TOO_LARGE, code="request_entity_too_large") from None
    images = [
        EncodedImage(file.read(), f"file {i} ({file.filename})" if file.filename else f"file {i}", file.filename)
        for i, (_, file) in enumerate(files.items(multi=True))
    ]
    return Form(images, {str(name): value for name, value in fields.to_dict().items()})
