"""Messages between HTTP workers and engines: one ZeroMQ frame an image, fixed binary headers, no pickle.

A request is REQUEST and then the pixels (uint8, H x W x C); a reply is REPLY and then the probabilities (float32),
of which there are none unless the status is OK. A message that is only a request's id cancels that request. Times are
of CLOCK_MONOTONIC, which processes share. Beside its socket an engine keeps a file with the ids of the images that it
is computing, ended by NO_ID: if it dies, the HTTP workers read there which images may have been the cause.
"""

import struct
from pathlib import Path

REQUEST = struct.Struct("<16sBdd")  # id; engines that died while they computed it; deadline; time sent
REPLY = struct.Struct("<16sBdd")  # id; status; times at which its batch began and was done, 0 where it never was
ID_BYTES = 16
NO_ID = bytes(ID_BYTES)

OK = 0
EXPIRED = 1  # the deadline had passed before its turn came
REFUSED = 2  # the pixels are not of the model's shape
FAILED = 3  # the model raised, or gave no finite answer


def socket_file(endpoint: str) -> Path:
    return Path(endpoint.removeprefix("ipc://"))


def computing_file(endpoint: str) -> Path:
    return socket_file(endpoint).with_suffix(".computing")


def read_computing(endpoint: str) -> set[bytes]:
    """Ids of the images that an engine was computing when it was heard of last."""
    try:
        content = computing_file(endpoint).read_bytes()
    except FileNotFoundError:
        return set()
    ids = [content[start : start + ID_BYTES] for start in range(0, len(content), ID_BYTES)]
    return set(ids[: ids.index(NO_ID)]) if NO_ID in ids else set(ids)
