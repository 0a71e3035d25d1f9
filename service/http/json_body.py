"""JSON in small requests and in answers: checked against a type by msgspec, and written from a type.

The types are msgspec Structs that stand beside the views which use them; /openapi.json is made from the same types.
"""

import json

import msgspec
from flask import Response, request

from service.config import Config
from service.errors import TooLarge
from service.http.bodies import read_bytes
from service.parsing.json_document import T, fit, parse_json

JSON = "application/json"
MOST_BYTES = 65_536  # of a document without images


def respond(answer: object, status: int = 200) -> Response:
    return Response(encode(answer), status, mimetype=JSON)


def encode(answer: object) -> bytes:
    """JSON of a Struct, or of anything else that msgspec writes; names of files need not be UTF-8."""
    try:
        return msgspec.json.encode(answer) + b"\n"
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(answer)).encode() + b"\n"


def read_document(kind: type[T], config: Config) -> T:
    """The request's body as a type; an empty body counts as {}.

    Raises:
        BadRequest: the body is not JSON.
        Unprocessable: it does not fit the type.
        TooLarge, ReadTimeout: as `read_bytes`; or it has more than MOST_BYTES.
    """
    body = read_bytes(request, config)
    if len(body) > MOST_BYTES:
        raise TooLarge(f"The JSON body has {len(body):,} bytes; this route takes at most {MOST_BYTES:,}.")
    return fit(parse_json(body) if body.strip() else {}, kind)
