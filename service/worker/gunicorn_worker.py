"""gunicorn's gevent worker, made to let go: of idle connections when it stops, of bodies that nobody reads."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import gevent
from gunicorn.http.errors import ParseException
from gunicorn.workers.ggevent import GeventWorker

MAX_LEFTOVER_BYTES = 1_000_000  # of a body that was refused; a client that sends more loses its connection
LEFTOVER_TIMEOUT_S = 1.0


class Worker(GeventWorker):
    """Stops as soon as its requests are answered; gunicorn's own would wait for idle connections to time out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: dict[gevent.Greenlet, gevent.Timeout] = {}

    @contextlib.contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Bounds the wait for a request's whole head, and so for a next request on the connection."""
        me = gevent.getcurrent()
        with gevent.Timeout(self.cfg.keepalive, False) as timeout:
            self._idle[me] = timeout
            try:
                yield
            finally:
                del self._idle[me]

    def init_signals(self) -> None:
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # held since the fork: `gunicorn_conf.py`

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer; then close the connection if too much of the body is left, which gunicorn would read to its end."""
        super().handle_request(listener_name, req, sock, addr)
        if not read_leftover(req.body):
            raise StopIteration

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.get_hub().loop.run_callback(self._close_idle)

    def _close_idle(self) -> None:
        for greenlet, timeout in list(self._idle.items()):
            greenlet.throw(timeout)


def read_leftover(body: Any) -> bool:
    """Whether the rest of a body came to an end soon, and a good one."""
    with gevent.Timeout(LEFTOVER_TIMEOUT_S, False), contextlib.suppress(ParseException, OSError):
        for _ in range(MAX_LEFTOVER_BYTES // 8192):
            if not body.read(8192):
                return True
    return False
