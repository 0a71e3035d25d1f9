"""Accepts connections so that all HTTP workers have about as many.

The kernel wakes all of them for each connection, and the quickest takes it. With few connections one worker would often
have most of them, and answer slowly while others have little to do. So a worker that has more connections than its
share leaves the next one to others for a moment; if none takes it, it does.
"""

import contextlib
import ctypes
import struct
from collections.abc import Callable
from functools import partial
from socket import SOL_SOCKET, socket
from typing import Any

from gevent.server import StreamServer

from service.ipc.counts import CONNECTIONS, Counts

PATIENCE_S = 0.002
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# struct sock_filter, linux/filter.h: code, jump if true, jump if false, operand
WITHOUT_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in [
        (0x30, 0, 0, 13),  # load the byte of the TCP header's flags
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # pass the rest
    ]
)


class BalancedServer(StreamServer):
    """
    Args:
        counts: of this worker.
        workers: number of HTTP workers.
        is_draining: whether all of them end.
        listener: the socket that all of them listen on.
        options: as gunicorn gives them to a server; `spawn` is the pool of the handlers.
    """

    def __init__(
        self,
        counts: Counts,
        workers: int,
        handle: Any,
        is_draining: Callable[[], bool],
        listener: Any,
        **options: Any,
    ) -> None:
        super().__init__(
            listener, handle=partial(self._handle_counted, partial(handle, listener)), spawn=options["spawn"]
        )
        if workers > 1:
            self.max_accept = 1
        self._counts = counts
        self._workers = workers
        self._is_draining = is_draining
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
        if not self.closed and self._is_draining():
            accept_no_more(self.socket)
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


def accept_no_more(listener: socket) -> None:
    """Have the kernel pass over whoever asks for a connection, and finish those that it has begun.

    They ask again after a second and are refused, where nobody listens any more. Without that, one that comes between
    the last look and the end of listening would be accepted, and reset.
    """
    code = ctypes.create_string_buffer(WITHOUT_SYN, len(WITHOUT_SYN))
    program = struct.pack("@HP", len(WITHOUT_SYN) // 8, ctypes.addressof(code))  # struct sock_fprog
    with contextlib.suppress(OSError):  # a sandbox has no filters
        listener.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, program)
