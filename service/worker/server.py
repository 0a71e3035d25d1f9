"""Accepts connections so that all HTTP workers have about as many.

The kernel wakes all of them for each connection, and the quickest takes it. With few connections one worker would often
have most of them, and answer slowly while others have little to do. So a worker that has more connections than its
share leaves the next one to others for a moment; if none takes it, it does.
"""

from functools import partial
from typing import Any

from gevent.server import StreamServer

from service.ipc.counts import CONNECTIONS, Counts

PATIENCE_S = 0.002


class BalancedServer(StreamServer):
    """
    Args:
        counts: of this worker.
        workers: number of HTTP workers.
        listener: the socket that all of them listen on.
        options: as gunicorn gives them to a server; `spawn` is the pool of the handlers.
    """

    def __init__(self, counts: Counts, workers: int, handle: Any, listener: Any, **options: Any) -> None:
        super().__init__(
            listener, handle=partial(self._handle_counted, partial(handle, listener)), spawn=options["spawn"]
        )
        if workers > 1:
            self.max_accept = 1
        self._counts = counts
        self._workers = workers
        self._has_waited = False

    def do_read(self) -> Any:
        """The next connection; None to leave it to others for now."""
        if not self._has_waited and self._has_more_than_its_share():
            self._has_waited = True
            self.stop_accepting()
            self._timer = self.loop.timer(PATIENCE_S)
            self._timer.start(self._start_accepting_if_started)
            return None
        self._has_waited = False
        return super().do_read()

    def close(self) -> None:
        """Take the connections that the kernel has accepted, which it would reset; then listen no more."""
        while not self.closed and not self.full() and (connection := super().do_read()) is not None:
            self.do_handle(*connection)
        super().close()

    def _has_more_than_its_share(self) -> bool:
        counts = self._counts
        return self._workers > 1 and counts.own(CONNECTIONS) * self._workers > counts.total(CONNECTIONS)

    def _handle_counted(self, handle: Any, client: Any, address: Any) -> None:
        self._counts.add(CONNECTIONS, 1)
        try:
            handle(client, address)
        finally:
            self._counts.add(CONNECTIONS, -1)
