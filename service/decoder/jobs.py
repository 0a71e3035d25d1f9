"""What an HTTP worker and a decoder process say to each other: small messages, beside memory that both have mapped.

The worker writes an encoded image to the beginning of that memory and sends a `Job`; the decoder writes the pixels
behind it and answers with a `Result`. They are the only two that have this memory, so that whatever an image does to
its decoder, it can spoil no other image than its own.
"""

from typing import Literal

import msgspec

Ending = Literal["decoded", "refused", "heavy"]


class Job(msgspec.Struct, array_like=True):
    """An image to be decoded.

    Attributes:
        length: bytes of the encoded image.
        height, width, channels, resize: as in models.bundle.preprocessing.InputSpec.
        may_be_heavy: whether it is decoded even if that takes long.
    """

    length: int
    height: int
    width: int
    channels: int
    resize: Literal["squash", "crop", "pad"]
    max_pixels: int
    may_be_heavy: bool


class Result(msgspec.Struct, array_like=True):
    """What became of it.

    Attributes:
        ending: `decoded`: the pixels, uint8 (height, width, channels), are in the memory.
        seconds: that it took.
        code, message: why it was refused (models.bundle.preprocessing.BadImage).
    """

    ending: Ending
    seconds: float
    code: str = ""
    message: str = ""


class Confinement(msgspec.Struct):
    """What a decoder says first: which limits hold for it."""

    no_new_privileges: bool
    system_calls: str  # "filtered", or why they are not


MAX_MESSAGE_BYTES = 65536
encode = msgspec.msgpack.encode


def read_job(message: bytes) -> Job:
    return msgspec.msgpack.decode(message, type=Job)


def read_result(message: bytes) -> Result:
    return msgspec.msgpack.decode(message, type=Result)


def read_confinement(message: bytes) -> Confinement:
    return msgspec.msgpack.decode(message, type=Confinement)
