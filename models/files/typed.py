"""Values read from JSON and TOML, checked by msgspec against the annotations of what they become.

Everything that a file on the disk says goes through here: people edit such files, and disks and other programs damage
them. A dataclass takes its own fields and no others; a TypedDict checks the keys that it names.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class WrongType(ValueError):
    """A value of the wrong type; the message says where it is and which type is expected."""


def read_json(path: Path, kind: type[T]) -> T:
    """The content of a JSON file, as `kind`.

    Raises:
        ValueError: it is not JSON, or a value in it is of another type; says where.
        OSError: it cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_float=finite, parse_constant=finite)
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None
    found: T = typed(value, kind)
    return found


def typed(value: Any, kind: Any, dec_hook: Callable[[Any, Any], Any] | None = None) -> Any:
    """A parsed value as its annotated type: lists become tuples, and objects dataclasses, as the annotation says.

    Args:
        dec_hook: makes values of types that msgspec does not know, from (type, value).

    Raises:
        WrongType: it is of another type, or the dataclass refuses it.
    """
    try:
        found = msgspec.convert(value, kind, str_keys=True, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        raise WrongType(str(error)) from None
    refuse_unknown_keys(value, found)
    return found


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type."""
    try:
        typed(value, kind)
    except WrongType:
        return False
    return True


def finite(text: str) -> float:
    """For parsers of JSON and TOML: NaN and infinities come from damage or from a mistake."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def refuse_unknown_keys(value: Any, found: Any) -> None:
    """msgspec passes over keys that a dataclass does not have; it hands on what is `Any` as it is."""
    if value is found:
        return
    if dataclasses.is_dataclass(found) and isinstance(value, dict):
        known = [field.name for field in dataclasses.fields(found)]
        unknown = [name for name in value if name not in known]
        if unknown:
            raise WrongType(f"Unknown key {str(unknown[0])[:50]!r}; known are {', '.join(known)}")
        for name, item in value.items():
            refuse_unknown_keys(item, getattr(found, name))
    elif isinstance(value, list | dict) and len(value) == len(found):
        pairs = (value.values(), found.values()) if isinstance(value, dict) else (value, found)
        for item, converted in zip(*pairs, strict=True):
            refuse_unknown_keys(item, converted)
