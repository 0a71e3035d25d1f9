"""Bodies on their way in and out: gzip is unpacked as it is read, never further than is allowed."""

import gzip
import io
import zlib
from typing import Any

import gevent
from flask import Request, Response
from werkzeug.wsgi import LimitedStream

from service.errors import BadRequest, TooLarge, UnsupportedEncoding

CHUNK_BYTES = 65536
WORTH_PACKING_BYTES = 1000
PACKED_TYPES = ("application/json", "text/")
GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say that there is a gzip header


class Inflated(io.RawIOBase):
    """Decompresses a gzip body on demand, so that a decompression bomb costs no more memory than is read.

    A body may have several members, one after another, and zeros after the last (https://www.rfc-editor.org/rfc/rfc1952).
    """

    def __init__(self, packed: Any, max_bytes: int) -> None:
        self._packed = packed
        self._left = max_bytes  # limit on compressed bytes, which may expand to nothing
        self._unpack = zlib.decompressobj(GZIP)
        self._waiting = b""  # packed bytes that were read and not yet used

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            self._waiting = self._waiting or self._read_packed()
            if not self._waiting and not self._unpack.eof:
                raise BadRequest("The body ends before its gzip does.")
            if not self._waiting:
                return 0
            if self._unpack.eof:
                self._waiting = self._waiting.lstrip(b"\0")
                if not self._waiting:
                    continue
                self._unpack = zlib.decompressobj(GZIP)
            try:
                data = self._unpack.decompress(self._waiting, len(buffer))
            except zlib.error as error:
                raise BadRequest(f"The body is no gzip, as its Content-Encoding says ({error}).") from None
            self._waiting = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
        buffer[: len(data)] = data
        return len(data)

    def _read_packed(self) -> bytes:
        packed: bytes = self._packed.read(CHUNK_BYTES)
        self._left -= len(packed)
        if self._left < 0:
            raise TooLarge("The body is over the limit (SERVICE_MAX_BODY_BYTES).")
        gevent.sleep(0)  # lets other greenlets run, also if the whole body has arrived
        return packed


def unpack(request: Request, max_bytes: int) -> None:
    """Have a gzip body read as what it was before; its length is then unknown, and bounded like a chunked one's.

    A body whose length is known has to be that long: gunicorn gives one that was cut off as a shorter one, unless
    werkzeug, which then raises ClientDisconnected, is left to see to the length.

    Raises:
        UnsupportedEncoding: it has another encoding.
    """
    length = request.content_length
    if length is not None:
        request.environ.pop("wsgi.input_terminated", None)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        packed = request.environ["wsgi.input"]
        whole = packed if length is None else LimitedStream(packed, length)
        request.environ["wsgi.input"] = Inflated(whole, max_bytes)
        request.environ["wsgi.input_terminated"] = True
        request.environ.pop("CONTENT_LENGTH", None)
    elif encoding not in ("identity", ""):
        raise UnsupportedEncoding(f"Send the body plain or with gzip; its Content-Encoding is {encoding[:50]!r}.")


def pack(request: Request, response: Response) -> None:
    """Compress an answer if the client accepts gzip and the answer is large enough."""
    if response.direct_passthrough or response.is_streamed or "Content-Encoding" in response.headers:
        return
    if not (response.mimetype or "").startswith(PACKED_TYPES) or not is_worth_packing(response.get_data()):
        return
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        response.set_data(packed(response.get_data()))
        response.headers["Content-Encoding"] = "gzip"


def is_worth_packing(content: bytes) -> bool:
    return len(content) >= WORTH_PACKING_BYTES


def packed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)
