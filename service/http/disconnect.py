"""Detects that a client has disconnected while its answer is computed, so that its request is cancelled.

A client that has sent its request may close its own direction of the connection and wait for the answer; one that has
gone has closed both. Both look alike until something is sent: who has gone answers that with a reset. So an interim
response is sent then, which every client of HTTP/1.1 passes over (https://www.rfc-editor.org/rfc/rfc9110#section-15.2).
Older clients know none; what speaks HTTP/1.0 today is nginx, which closes both directions, and so counts as gone.
"""

import contextlib
import os
import select
from typing import Any

import gevent
from gevent import monkey

from service.errors import ClientGone
from service.telemetry.request_record import record

READ = 1  # what a libev watcher waits for
FIRST_LOOK_S = 0.01  # most answers are there sooner, and a watcher costs more than it could save them
RESET_INTERVAL_S = 0.02  # between two looks for a reset
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
GONE = select.POLLHUP | select.POLLERR
poll = monkey.get_original("select", "poll")  # gevent's own would wait, and a watcher's callback must not


class while_client_stays:
    """A block that is left when the other side of the connection is closed.

    Raises:
        ClientGone: inside the block.
    """

    def __enter__(self) -> None:
        self._socket = record().socket
        self._watchers: list[Any] = []
        if self._socket is not None:
            self._answering, self._speaks_1_1 = gevent.getcurrent(), record().speaks_1_1
            self._loop = gevent.get_hub().loop
            first = self._loop.timer(FIRST_LOOK_S)
            self._watchers.append(first)
            first.start(self._begin)

    def __exit__(self, *_: object) -> None:
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()

    def _begin(self) -> None:
        self._descriptor, self._closed = self._socket.fileno(), poll()
        self._closed.register(self._descriptor, select.POLLRDHUP)
        self._readable = self._loop.io(self._descriptor, READ)
        self._reset = self._loop.timer(RESET_INTERVAL_S, RESET_INTERVAL_S)
        self._watchers += [self._readable, self._reset]
        self._readable.start(self._look)

    def _look(self) -> None:
        self._readable.stop()  # what comes otherwise is the connection's next request
        events = self._now()
        if events & GONE or (events and not self._speaks_1_1):
            self._leave()
        elif events:
            with contextlib.suppress(OSError):  # a reset, which is seen next; or no room, for who reads nothing
                os.write(self._descriptor, INTERIM)
            self._reset.start(self._look_for_reset)

    def _look_for_reset(self) -> None:
        if self._now() & GONE:
            self._leave()

    def _now(self) -> int:
        return sum(events for _, events in self._closed.poll(0))

    def _leave(self) -> None:
        self._reset.stop()
        self._answering.throw(ClientGone("The client closed the connection."))
