"""gunicorn's gevent worker with a short way for the request that comes most, and made to let go.

It lets go of idle connections when it stops, and of bodies that nobody reads. While the service drains, each answer is
the last of its connection, so that clients are gone before connections are closed.
"""

import contextlib
import signal
import time
from functools import partial
from socket import SHUT_WR
from types import FrameType
from typing import TYPE_CHECKING, Any

import gevent
from gunicorn import http, util
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.ggevent import GeventWorker

from models.process.garbage import spare_what_is_there

if TYPE_CHECKING:  # gunicorn's master imports this module, and is to stay small
    from service.inference.service import Service
    from service.ipc.counts import Counts
    from service.worker.lane import Body, Hot, Lane

APPLICATION = "service.worker.wsgi:application"
RECEIVE_BYTES = 65536
MAX_LEFTOVER_BYTES = 1_000_000  # of a body that was refused; a client that sends more loses its connection
LEFTOVER_TIMEOUT_S = 1.0
MAX_LINGER_BYTES, LINGER_TIMEOUT_S = 50_000_000, 2.0  # that are still taken before the connection is closed
LAST_CALL_S = 0.5  # for a request's head, once the worker was asked to stop


class Late(BaseException):
    """A request's head has not come in time; no handler of errors takes it for one."""


class Worker(GeventWorker):
    """Stops as soon as its requests are answered; gunicorn's own would wait for idle connections to time out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: dict[gevent.Greenlet, float] = {}  # for a request's head, and until when
        self._lane: Lane | None = None
        self._service: Service | None = None
        self.counts: Counts | None = None  # gunicorn_conf.py gives it one before it is forked

    def load_wsgi(self) -> None:
        """Make the application of published models; any other, as for a look at one SavedModel, gunicorn loads."""
        if self.counts is None or self.app.app_uri != APPLICATION:
            super().load_wsgi()
            return
        from service.worker.lane import Lane
        from service.worker.server import BalancedServer
        from service.worker.wsgi import application

        self.wsgi = application(self.counts)
        service: Service = self.wsgi.extensions["striate"]
        self._service, self._lane = service, Lane(service)
        self.server_class = partial(
            BalancedServer, self.counts, self.cfg.workers, self.handle, lambda: service.is_draining
        )
        spare_what_is_there()

    def run(self) -> None:
        gevent.spawn(self._close_late)
        super().run()

    def init_signals(self) -> None:
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # held since the fork: `gunicorn_conf.py`

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Answer the requests of a connection, one after another: in the lane, or by gunicorn's parser and Flask."""
        request = None
        try:
            client.setblocking(True)
            parser = http.get_parser(self.cfg, client, addr)
            me = gevent.getcurrent()
            while True:
                request = None
                patience_s = self.cfg.keepalive if self.alive else LAST_CALL_S
                self._waiting[me] = time.monotonic() + patience_s
                try:
                    hot = self._find_hot(parser, client)
                    request = next(parser) if hot is None else None
                finally:
                    del self._waiting[me]
                if hot is not None:
                    self._answer_hot(*hot, parser, client)
                else:
                    self.handle_request(client.getsockname(), request, client, addr)
                    if not parser.finish_body():
                        break  # where the next request begins is not known
        except (NoMoreData, StopIteration, OSError, Late):
            pass  # the client has gone, or the connection is to be closed
        except Exception as error:
            self.handle_error(request, client, addr, error)
        finally:
            util.close(client)

    def _find_hot(self, parser: Any, client: Any) -> "tuple[Hot, Body] | None":
        """The next request if it is one for the lane, which keeps its connection; else the parser finds it."""
        received = parser.unreader.take_buffered() or client.recv(RECEIVE_BYTES)
        found = self._lane.find(received, client.recv) if self._lane is not None and not self._is_ending else None
        if found is None:
            parser.unreader.unread(received)
        return found

    def _answer_hot(self, hot: "Hot", body: "Body", parser: Any, client: Any) -> None:
        assert self._lane is not None
        self._lane.answer(hot, body, client)
        if body.missing and not read_leftover(body):
            linger(client)
            raise StopIteration
        parser.unreader.unread(body.rest)

    @property
    def _is_ending(self) -> bool:
        return not self.alive or (self._service is not None and self._service.is_draining)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer; then close the connection if too much of the body is left, which gunicorn would read to its end."""
        if self._is_ending:
            req.force_close()
        joined = JoinedWrites(sock)
        try:
            super().handle_request(listener_name, req, joined, addr)
        except StopIteration:  # the connection is to be closed
            joined.flush()
            if not read_leftover(req.body):
                linger(sock)
            raise
        finally:
            joined.flush()
        if not read_leftover(req.body):
            linger(sock)
            raise StopIteration

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.get_hub().loop.run_callback(self._call_last)

    def _call_last(self) -> None:
        """Requests may be on their way on connections that are idle, so these are closed after a moment."""
        last = time.monotonic() + LAST_CALL_S
        self._waiting = {greenlet: min(until, last) for greenlet, until in self._waiting.items()}
        gevent.spawn_later(LAST_CALL_S, gevent.get_hub().loop.run_callback, self._close_idle, last)

    def _close_idle(self, now: float) -> None:
        """Close the connections that have waited for a request's head until now."""
        for greenlet in [greenlet for greenlet, until in self._waiting.items() if until <= now]:
            greenlet.throw(Late)

    def _close_late(self) -> None:
        """Bounds the wait for a request's whole head, and so for a next request on the connection."""
        hub = gevent.get_hub()
        while True:
            gevent.sleep(min(1.0, self.cfg.keepalive / 4))
            hub.loop.run_callback(self._close_idle, time.monotonic())


class JoinedWrites:
    """A socket that sends the head of an answer together with the beginning of its body."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._head = b""
        self._has_sent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, data: bytes) -> None:
        if self._has_sent:
            self._client.sendall(data)
        elif self._head:
            head, self._head, self._has_sent = self._head, b"", True
            self._client.sendall(head + data)
        else:
            self._head = data

    def sendfile(self, *arguments: Any, **options: Any) -> Any:
        self.flush()
        return self._client.sendfile(*arguments, **options)

    def flush(self) -> None:
        """Send a head that no body has followed."""
        if self._head:
            head, self._head, self._has_sent = self._head, b"", True
            with contextlib.suppress(OSError):  # the client has gone
                self._client.sendall(head)


def read_leftover(body: Any) -> bool:
    """Whether the rest of a body came to an end soon, and a good one."""
    with gevent.Timeout(LEFTOVER_TIMEOUT_S, False), contextlib.suppress(ParseException, OSError):
        for _ in range(MAX_LEFTOVER_BYTES // 8192):
            if not body.read(8192):
                return True
    return False


def linger(client: Any) -> None:
    """Take what the client still sends, until it has seen that the answer has ended.

    A connection that is closed with bytes unread is reset, and the client, or a proxy before it, may lose the answer.
    """
    with gevent.Timeout(LINGER_TIMEOUT_S, False), contextlib.suppress(OSError):
        client.shutdown(SHUT_WR)
        taken = 0
        while taken < MAX_LINGER_BYTES and (received := client.recv(RECEIVE_BYTES)):
            taken += len(received)
