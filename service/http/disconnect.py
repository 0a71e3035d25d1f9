"""Detects that a client has disconnected while its answer is computed, so that its request is cancelled.

A client that has sent its request may close its own direction of the connection and wait for the answer; one that has
gone has closed both. Both look alike until something is sent: who has gone answers that with a reset. So an interim
response is sent then, which every client of HTTP/1.1 passes over (https://www.rfc-editor.org/rfc/rfc9110#section-15.2).
Older clients know none; what speaks HTTP/1.0 today is nginx, which closes both directions, and so counts as gone.
"""

import contextlib
import os
import select
from collections.abc import Iterator

import gevent
from flask import request
from gevent import monkey

from service.errors import ClientGone

READ = 1  # what a libev watcher waits for
RESET_INTERVAL_S = 0.02  # between two looks for a reset
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
GONE = select.POLLHUP | select.POLLERR
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
    answering, closed, descriptor = gevent.getcurrent(), poll(), socket.fileno()
    knows_interim = request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
    closed.register(descriptor, select.POLLRDHUP)
    loop = gevent.get_hub().loop
    readable, reset = loop.io(descriptor, READ), loop.timer(RESET_INTERVAL_S, RESET_INTERVAL_S)

    def look() -> None:
        readable.stop()  # what comes otherwise is the connection's next request
        events = now()
        if events & GONE or (events and not knows_interim):
            leave()
        elif events:
            with contextlib.suppress(OSError):  # a reset, which is seen next; or no room, for who reads nothing
                os.write(descriptor, INTERIM)
            reset.start(look_for_reset)

    def look_for_reset() -> None:
        if now() & GONE:
            leave()

    def now() -> int:
        return sum(events for _, events in closed.poll(0))

    def leave() -> None:
        reset.stop()
        answering.throw(ClientGone("The client closed the connection."))

    readable.start(look)
    try:
        yield
    finally:
        for watcher in (readable, reset):
            watcher.stop()
            watcher.close()
