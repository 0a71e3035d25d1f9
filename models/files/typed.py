"""Values read from JSON and TOML, checked against the annotations of what they become.

Whatever a file on the disk says goes through here: people edit such files, and disks and other programs damage them.
A dataclass takes its own fields and no others; a TypedDict checks the keys that it names and lets others pass.
"""

import dataclasses
import json
import math
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

T = TypeVar("T")

NAMES: dict[Any, str] = {
    NoneType: "null",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    list: "a list",
    tuple: "a list",
}
hints_of = cache(get_type_hints)


class WrongType(ValueError):
    """A value of another type than it has to be of; says where it is, what it is, and what it has to be."""


def read_json(path: Path, kind: type[T]) -> T:
    """What a file of JSON says, as `kind`.

    Raises:
        ValueError: it is no JSON, or a value in it is of another type; says where.
        OSError: it cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None
    return typed(value, kind)


def typed(value: Any, kind: Any, where: str = "") -> Any:
    """A parsed value as its annotated type: lists become tuples, objects dataclasses, where the annotation says so.

    Args:
        kind: a dataclass, a TypedDict, a union, a Literal, or one of Any, str, int, float, bool, None, list, tuple and
            dict; `Annotated[A, B]` is A for type checkers, and checked as B.
        where: how an error names the value.

    Raises:
        WrongType: it is of another type.
        ValueError: the dataclass refuses it.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        typed(value, arguments[1], where)
        return typed(value, arguments[0], where)
    if origin is NotRequired:
        return typed(value, arguments[0], where)
    if origin in (Union, UnionType):
        return typed_union(value, arguments, where)
    if origin is Literal:
        is_known = type(value) in map(type, arguments) and value in arguments  # True equals 1
        return value if is_known else refuse(value, described(kind), where)
    if dataclasses.is_dataclass(kind):
        return typed_dataclass(value, kind, where)
    if is_typeddict(kind):
        return typed_dictionary(value, kind, where)
    if kind is float:
        return number(value, where)
    if (origin or kind) in (list, tuple):
        return typed_list(value, origin or kind, arguments, where)
    if origin is dict:
        return typed_mapping(value, arguments, where)
    return value if type(value) is kind else refuse(value, described(kind), where)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type."""
    try:
        typed(value, kind)
    except ValueError:
        return False
    return True


def number(value: Any, where: str) -> float:
    try:
        if type(value) in (int, float) and math.isfinite(value):
            found: float = value
            return found
    except OverflowError:  # a whole number that no float can hold
        pass
    return refuse(value, described(float), where)


def typed_union(value: Any, members: tuple[Any, ...], where: str) -> Any:
    if value is None and NoneType in members:
        return None
    others = [member for member in members if member is not NoneType]
    if len(others) == 1 and not isinstance(value, str | int | float | bool | NoneType):
        return typed(value, others[0], where)  # whose complaint says more
    found = next((member for member in others if fits(value, member)), None)
    return refuse(value, described(*members), where) if found is None else typed(value, found, where)


def typed_dataclass(value: Any, kind: Any, where: str) -> Any:
    given, hints = mapping(value, where), hints_of(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [name for name in given if name not in fields]
    if unknown:
        raise WrongType(f"{named(where)} has the unknown key {str(unknown[0])[:50]!r}; known are {', '.join(fields)}")
    nothing = dataclasses.MISSING
    needed = [name for name, field in fields.items() if field.default is field.default_factory is nothing]
    check_complete(given, needed, where)
    return kind(**{name: typed(item, hints[name], inside(where, name)) for name, item in given.items()})


def typed_dictionary(value: Any, kind: Any, where: str) -> dict[str, Any]:
    given, hints = mapping(value, where), hints_of(kind, include_extras=True)
    check_complete(given, sorted(kind.__required_keys__), where)
    return {name: typed(item, hints.get(name, Any), inside(where, name)) for name, item in given.items()}


def check_complete(given: dict[str, Any], needed: list[str], where: str) -> None:
    missing = [name for name in needed if name not in given]
    if missing:
        raise WrongType(f"{named(where)} does not say {missing[0]!r}")


def typed_list(value: Any, kind: Any, members: tuple[Any, ...], where: str) -> Any:
    if not isinstance(value, list | tuple):
        refuse(value, described(kind), where)
    if not members or members[-1] is Ellipsis or kind is list:
        members = (members[0] if members else Any,) * len(value)
    if len(members) != len(value):
        raise WrongType(f"{named(where)} has {len(value)} elements, and has to have {len(members)}")
    pairs = zip(value, members, strict=True)
    return kind(typed(item, member, f"{where}[{i}]") for i, (item, member) in enumerate(pairs))


def typed_mapping(value: Any, arguments: tuple[Any, Any], where: str) -> dict[Any, Any]:
    key_kind, item_kind = arguments
    found = {}
    for name, item in mapping(value, where).items():
        key = int(name) if key_kind is int and name.isascii() and name.isdecimal() else name
        found[typed(key, key_kind, f"a key of {named(where)}")] = typed(item, item_kind, inside(where, name))
    return found


def mapping(value: Any, where: str) -> dict[str, Any]:
    return value if isinstance(value, dict) else refuse(value, described(dict), where)


def refuse(value: Any, wanted: str, where: str) -> NoReturn:
    raise WrongType(f"{named(where)} is {json.dumps(value, default=str)[:100]}, and has to be {wanted}")


def described(*kinds: Any) -> str:
    """`int, None` -> "a whole number or null"."""
    return " or ".join(name for kind in kinds for name in names_of(kind))


def names_of(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [json.dumps(value) for value in get_args(kind)]
    return [NAMES.get(get_origin(kind) or kind, "an object")]


def named(where: str) -> str:
    return where or "it"


def inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else str(name)
