"""What an HTTP worker and a decoder process say to each other: small messages, beside memory that both have mapped.

The worker writes an encoded image or a body to the beginning of that memory and sends an `ImageJob` or a `BodyJob`; the
decoder writes the pixels, or what the body says, behind it and answers with a `Result`. They are the only two that have
this memory, so that whatever an image does to its decoder, it can spoil no other image than its own.
"""

from typing import Any, Literal

import msgspec

Sort = Literal["light", "heavy", "body"]  # decoders of what takes little time, of heavy images, of heavy bodies
Ending = Literal["done", "refused", "heavy", "failed"]


class ImageJob(msgspec.Struct, array_like=True, tag=True):
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


class BodyJob(msgspec.Struct, array_like=True, tag=True):
    """A body to be parsed.

    Attributes:
        length: bytes of the body.
        kind: one of service.parsing.kinds.KINDS.
        arguments: of its function, beside the body.
        may_be_heavy: whether it is parsed even if that takes long.
    """

    length: int
    kind: str
    arguments: tuple[Any, ...]
    may_be_heavy: bool


Job = ImageJob | BodyJob


class Result(msgspec.Struct, array_like=True):
    """What became of it.

    Attributes:
        ending: `done`: the pixels, uint8 (height, width, channels), or what the body says are in the memory.
        seconds: that it took.
        length: bytes of what the body says, or of the `Refusal`.
    """

    ending: Ending
    seconds: float
    length: int = 0


class Refusal(msgspec.Struct, array_like=True):
    """Why it was refused: of models.bundle.preprocessing.BadImage or of service.errors.ServiceError."""

    message: str
    code: str
    status: int = 0


class Confinement(msgspec.Struct):
    """What a decoder says first: which limits hold for it."""

    no_new_privileges: bool
    system_calls: str  # "filtered", or why they are not
    memory: bool  # whether it is limited
    is_idle: bool | None = None  # whether it takes only time that others leave; None where it is not to


MAX_MESSAGE_BYTES = 65536
encode = msgspec.msgpack.encode


def read_job(message: bytes) -> Job:
    return msgspec.msgpack.decode(message, type=Job)


def read_result(message: bytes) -> Result:
    return msgspec.msgpack.decode(message, type=Result)


def read_confinement(message: bytes) -> Confinement:
    return msgspec.msgpack.decode(message, type=Confinement)
