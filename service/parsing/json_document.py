"""JSON in requests: read strictly, and checked against a type by msgspec."""

import contextlib
import json
from typing import Any, NoReturn, TypeVar

import msgspec

from service.errors import BadRequest, TooLarge, Unprocessable

T = TypeVar("T")
MOST_VALUES = 10_000  # of a document that has no tensor: a million short texts would take long
MOST_NUMBERS = 10_000_000  # of one that has
MOST_PLAIN_KEYS = 50


def fit(document: Any, kind: type[T]) -> T:
    """Parsed JSON as a type.

    Raises:
        Unprocessable: it does not fit; says where.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Unprocessable(f"The JSON body does not fit what this route takes: {error}.") from None


def parse_json(body: bytes, *, most_values: int = MOST_VALUES) -> Any:
    """Strict JSON: no NaN or Infinity, no repeated keys, UTF-8 without a byte-order mark.

    Args:
        most_values: that it may have; told by its commas before it is parsed.

    Raises:
        BadRequest: the body is something else.
        TooLarge: it has more values.
        Unprocessable: a text has half of a surrogate pair, which no answer could repeat in UTF-8.
    """
    if body.count(b",") > most_values:
        raise TooLarge(f"The JSON body has more than {most_values:,} values.")
    if has_plain_keys(body):
        with contextlib.suppress(ValueError, RecursionError):  # the other parser says what is wrong
            return msgspec.json.decode(body)  # takes a quarter of the time, and lets keys be repeated
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not valid JSON: {str(error)[:200]}.") from None
    if b"\\ud" in body.lower():
        try:
            json.dumps(document, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise Unprocessable(f"The JSON body has half of a surrogate pair: {error}.") from None
    return document


def has_plain_keys(body: bytes) -> bool:
    """Whether a document of JSON certainly repeats no key, as far as that can be told without parsing it.

    It has no escapes, so that quotes enclose its texts, and before each of a few colons is another text.
    """
    if b"\\" in body or body.count(b":") > MOST_PLAIN_KEYS:
        return False
    keys: set[bytes] = set()
    colon = body.find(b":")
    while colon >= 0:
        end = body.rfind(b'"', 0, colon)
        key = body[body.rfind(b'"', 0, max(end, 0)) + 1 : max(end, 0)]
        if key in keys:
            return False
        keys.add(key)
        colon = body.find(b":", colon + 1)
    return True


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is repeated")
    return document


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
