"""Noticing that a client has gone while its answer is being computed, so that nobody computes for nobody."""

import contextlib
import select
from collections.abc import Iterator

import gevent
from flask import request
from gevent import monkey

from service.errors import ClientGone

READ = 1  # what a libev watcher waits for
poll = monkey.get_original("select", "poll")  # gevent's own would wait, and a watcher's callback must not


@contextlib.contextmanager
def while_client_stays() -> Iterator[None]:
    """
    Raises:
        ClientGone: inside the block, when the other side of the connection is closed.
    """
    socket = request.environ.get("gunicorn.socket")
    if socket is None:  # another server's, as in a test
        yield
        return
    answering, closed = gevent.getcurrent(), poll()
    closed.register(socket, select.POLLRDHUP)
    watcher = gevent.get_hub().loop.io(socket.fileno(), READ)

    def look() -> None:
        watcher.stop()  # what comes otherwise is the connection's next request
        if closed.poll(0):
            answering.throw(ClientGone("The client closed the connection."))

    watcher.start(look)
    try:
        yield
    finally:
        watcher.stop()
        watcher.close()
