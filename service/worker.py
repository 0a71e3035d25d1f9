"""gunicorn's gevent worker, which stops as soon as its requests are answered.

gunicorn's own waits for idle keep-alive connections to time out, so that every stop would take that long.
"""

import contextlib
from collections.abc import Iterator
from types import FrameType

import gevent
from gunicorn.workers.ggevent import GeventWorker


class Worker(GeventWorker):
    """Closes connections that wait for a next request when it is asked to stop."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._idle: dict[gevent.Greenlet, gevent.Timeout] = {}

    @contextlib.contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Bounds the wait for a request's head, from its first byte to its last, and for the first byte too."""
        me = gevent.getcurrent()
        with gevent.Timeout(self.cfg.keepalive, False) as timeout:
            self._idle[me] = timeout
            try:
                yield
            finally:
                del self._idle[me]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.get_hub().loop.run_callback(self._close_idle)

    def _close_idle(self) -> None:
        for greenlet, timeout in list(self._idle.items()):
            greenlet.throw(timeout)
