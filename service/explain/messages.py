"""What an HTTP worker and its explaining process say to each other: a length, and so many bytes of MessagePack."""

import struct
from io import BufferedRWPair
from typing import Literal, TypeVar

import msgspec

from models.insight.explanation import Explanation
from models.insight.layers import Drawn
from models.insight.similar import Similar

LENGTH = struct.Struct("<I")

T = TypeVar("T")


class Question(msgspec.Struct):
    """
    Attributes:
        what: is wanted: where the network looked, similar training images, or what each stage makes of the image.
        bundle: folder of the version.
        pixels: uint8 (height, width, channels) in row order.
        index: of the class; None for the most probable one.
        until: the time by which it has to be done, in seconds of CLOCK_MONOTONIC.
    """

    what: Literal["explanation", "similar", "layers"]
    bundle: str
    shape: tuple[int, int, int]
    pixels: bytes
    index: int | None
    until: float
    is_multi: bool


class Refusal(msgspec.Struct):
    """`slow`: too few masks in the time; `unreadable`: by OpenVINO, or the bundle is gone; `none`: it lacks this."""

    kind: Literal["slow", "unreadable", "none"]
    reason: str


class Reply(msgspec.Struct):
    """One of them."""

    explanation: Explanation | None = None
    similar: list[Similar] | None = None
    layers: list[Drawn] | None = None
    refusal: Refusal | None = None


def write(file: BufferedRWPair, message: msgspec.Struct) -> None:
    encoded = msgspec.msgpack.encode(message)
    file.write(LENGTH.pack(len(encoded)) + encoded)
    file.flush()


def read(file: BufferedRWPair, kind: type[T]) -> T | None:
    """None where the other side has closed."""
    head = file.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = file.read(length)
    return msgspec.msgpack.decode(body, type=kind) if len(body) == length else None
