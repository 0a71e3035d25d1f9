"""Messages between HTTP workers and engines: records of fixed size over a Unix stream socket, no pickle, no pixels.

A worker connects to an engine's socket and sends the descriptor of its arena (`service.ipc.slots`) with the first byte.
Then it sends one REQUEST for each image: which slot of the arena holds the pixels. The engine answers a whole batch at
once: a REPLY, one ROW for each image, and the probabilities, float32 (images, classes), which mean nothing where the
image's status is not OK. A request whose slot is CANCEL cancels the one with the same id.

Times are of CLOCK_MONOTONIC, which processes share. Beside its socket an engine keeps a file with the ids of the images
that it is computing, ended by NO_ID: if it dies, the HTTP workers read there which images may have been the cause.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

HELLO = b"a"  # the byte that carries the arena's file descriptor
REQUEST = struct.Struct("<QIBBxxdd")  # id; slot; engines that died while they computed it; what counts; deadline; sent
REPLY = struct.Struct("<IIdd")  # images; classes; times at which the batch began and was done, 0 where it never was
ROW = struct.Struct("<QBxxxf")  # id; status; how far it is from the reference, NaN where there is none
ID = struct.Struct("<Q")
NO_ID = 0
CANCEL = 0xFFFF_FFFF  # no slot has this number

OK = 0
EXPIRED = 1  # the deadline had passed before its turn came
FAILED = 3  # the model raised, or gave no finite answer

# What of an image counts in the engine's statistics.
NOTHING = 0
CONFIDENCE = 1  # how sure the model is of it
DRIFT = 2  # how far the image is from the held-out images


def reply(
    rows: Iterable[tuple[int, int, float]], probabilities: np.ndarray, started: float = 0.0, done: float = 0.0
) -> bytes:
    """What an engine answers: id, status and distance of each image, and probabilities float32 (images, classes)."""
    packed = [ROW.pack(*row) for row in rows]
    return b"".join([REPLY.pack(*probabilities.shape, started, done), *packed, probabilities.tobytes()])


def computing_file(endpoint: str) -> Path:
    """
    Args:
        endpoint: path of the engine's socket.
    """
    return Path(f"{endpoint}.computing")


def read_computing(endpoint: str) -> set[int]:
    """Ids of the images that an engine was computing when it was heard of last."""
    try:
        content = computing_file(endpoint).read_bytes()
    except FileNotFoundError:
        return set()
    ids = [number for (number,) in ID.iter_unpack(content[: len(content) // ID.size * ID.size])]
    return set(ids[: ids.index(NO_ID)]) if NO_ID in ids else set(ids)
