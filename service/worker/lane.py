"""The short way of the request that comes most: one encoded image as the body, POSTed to be classified.

Flask's part of such a request takes as long as the network of a small model. So a request whose head is of this form is
answered here, by the same functions that Flask's views call, with the same bytes (tests/service/worker/test_lane.py).
Whatever is of any other form, or could be read in two ways, goes through gunicorn's parser and Flask.
"""

import io
import logging
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, NamedTuple

from gunicorn import SERVER
from werkzeug.http import HTTP_STATUS_CODES, parse_accept_header

from service.config import split_list
from service.errors import BadRequest, ServiceError
from service.http.bodies import read_timeout
from service.http.compression import is_worth_packing, packed
from service.http.images import images_of, read_top_k
from service.http.json_body import JSON, encode
from service.http.uploads import UPLOADS
from service.inference.service import Service
from service.protocols.striate import classification
from service.telemetry.request_record import Record
from service.worker.answers import SECURITY_HEADERS, UNFORESEEN, error_body

log = logging.getLogger(__name__)

END = b"\r\n\r\n"
MAX_HEAD_BYTES = 4000  # a longer one is gunicorn's to judge
HEAD = re.compile(
    rb"POST (/(?:models/([A-Za-z0-9_-]{1,100})/(?:versions/([0-9]{1,18})/)?)?classify)(?:\?top_k=([A-Za-z0-9-]{0,20}))?"
    rb" HTTP/1\.1((?:\r\n[A-Za-z0-9-]+: [\x20-\x7e]+){1,50})"
)
# Of a head with one of these, more than the classification of the body is asked for.
DECLINED = {"transfer-encoding", "content-encoding", "expect", "upgrade", "origin", "trailer", "te"}
OTHER_BODIES = ("application/json", "multipart/form-data")
MAX_LENGTH_DIGITS = 12
RECEIVE_BYTES = 1 << 18
ROUTES = ("/classify", "/models/<name>/classify", "/models/<name>/versions/<int:version>/classify")


class Headers(dict[str, str]):
    """Of a request, by their names in lower case."""

    def get(self, key: str, default: Any = None, /) -> Any:
        return dict.get(self, key.lower(), default)


class Hot(NamedTuple):
    """A request of the form that is answered here."""

    path: str
    model: str | None
    version: int | None
    top_k: str | None
    headers: Headers
    mimetype: str


class Body:
    """The body of a request, of which a part has been received with the head."""

    def __init__(self, received: bytes, length: int, receive: Callable[[int], bytes]) -> None:
        self._received = received[:length]
        self.rest = received[length:]  # of the connection's next request
        self.missing = length - len(self._received)
        self._receive = receive

    def read_all(self, timeout_s: float) -> bytes:
        """
        Raises:
            ReadTimeout: it does not arrive in time.
            BadRequest: it ends too early.
            Overloaded: too many large bodies arrive.
        """
        if self.missing:
            upload, body = UPLOADS.begin(), io.BytesIO()
            body.write(self._received)
            self._received = b""
            with read_timeout(timeout_s):
                while self.missing:
                    part = self._receive(min(self.missing, RECEIVE_BYTES))
                    if not part:
                        raise BadRequest("The body is shorter than its Content-Length says: it was cut off.")
                    self.missing -= len(part)
                    body.write(part)
                    upload.has_read(len(part))
            self._received = body.getvalue()
        return self._received

    def read(self, size: int) -> bytes:
        """Of what is still missing."""
        part = self._receive(min(size, self.missing)) if self.missing else b""
        self.missing -= len(part)
        return part


class Lane:
    """One worker's."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._config = service.config
        self._vary_origin = bool(split_list(self._config.cors_origins))

    def find(self, received: bytes, receive: Callable[[int], bytes]) -> tuple[Hot, Body] | None:
        """The request that was received, and its body; None where its head is not whole or not of the form.

        Args:
            receive: receives more of the connection, at most so many bytes.
        """
        head, end, rest = received.partition(END)
        form = HEAD.fullmatch(head) if end and len(head) <= MAX_HEAD_BYTES else None
        if form is None:
            return None
        path, model, version, top_k, lines = form.groups()
        headers, names = Headers(), 0
        for line in lines.decode().split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value.strip(" ")
            names += 1
        length, mimetype = headers.get("content-length", ""), headers.get("content-type", "").partition(";")[0]
        is_other = (
            len(headers) < names  # one is repeated
            or not DECLINED.isdisjoint(headers)
            or "host" not in headers
            or headers.get("connection", "keep-alive").lower() != "keep-alive"
            or not (
                length.isdigit() and len(length) <= MAX_LENGTH_DIGITS and int(length) <= self._config.max_body_bytes
            )
            or mimetype.strip().lower() in OTHER_BODIES
        )
        if is_other:
            return None
        hot = Hot(
            path.decode(),
            model.decode() if model else None,
            int(version) if version else None,
            None if top_k is None else top_k.decode(),
            headers,
            mimetype.strip().lower(),
        )
        return hot, Body(rest, int(length), receive)

    def answer(self, hot: Hot, body: Body, socket: Any) -> None:
        """Send the answer, and note it."""
        record = Record("POST", hot.path, hot.headers, hot.mimetype, socket, speaks_1_1=True)
        extra: dict[str, str] = {}
        try:
            status, content = 200, self._classify(hot, body)
        except ServiceError as error:
            status, content = error_body(error.status, error.code, str(error))
            extra = error.headers
        except Exception:
            log.exception("unforeseen, request %s", record.request_id)
            status, content = error_body(*UNFORESEEN)
        message = self._message(hot, record, status, content, extra)
        try:
            sent = socket.send(message)
            if sent < len(message):
                socket.sendall(message[sent:])
        finally:
            self._service.note(ROUTES[(hot.model is not None) + (hot.version is not None)], status)

    def _classify(self, hot: Hot, body: Body) -> bytes:
        service = self._service
        service.authorise(hot.headers, "predict")
        name = hot.model if hot.model is not None else service.targets.default_model()
        service.admit(name, hot.version)
        top_k = read_top_k(hot.top_k)
        images = images_of(body.read_all(self._config.read_timeout_s), hot.mimetype, self._config, service.parse)
        return encode(classification(service, name, hot.version, images, top_k))

    def _message(self, hot: Hot, record: Record, status: int, content: bytes, extra: dict[str, str]) -> bytes:
        """The whole answer, with the headers that Flask's way has, in their order."""
        vary = ["Origin"] if self._vary_origin else []
        encoding = ""
        if is_worth_packing(content):
            vary.append("Accept-Encoding")
            if parse_accept_header(hot.headers.get("accept-encoding"))["gzip"]:
                content, encoding = packed(content), "Content-Encoding: gzip\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        varies = f"Vary: {', '.join(vary)}\r\n" if vary else ""
        head = (
            f"{status_line(status)}Date: {date(int(time.time()))}\r\nConnection: keep-alive\r\n"
            f"Content-Type: {JSON}\r\nContent-Length: {len(content)}\r\n{lines}X-Request-Id: {record.request_id}\r\n"
            f"{SECURITY_LINES}Cache-Control: no-store\r\n{varies}{encoding}\r\n"
        )
        return head.encode("latin-1") + content


SECURITY_LINES = "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())


@lru_cache
def status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTP_STATUS_CODES.get(status, 'Unknown').upper()}\r\nServer: {SERVER}\r\n"


@lru_cache(maxsize=4)
def date(now: int) -> str:
    return formatdate(now, usegmt=True)
