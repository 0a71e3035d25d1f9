"""A Unix stream socket whose sender never waits: what does not fit now is kept, and sent when there is room.

An engine has one thread and answers many workers, so a worker that does not read must not hold it up.
"""

import contextlib
import socket

RECEIVE_BYTES = 1 << 16  # more would be mapped and unmapped for each message
MAX_UNSENT_BYTES = 1 << 28  # to a process that does not read; it is given up then


class Connection:
    """
    Args:
        connected: from now on it does not block.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._unsent = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def send(self, message: bytes) -> None:
        """
        Raises:
            OSError: the other side has gone, or does not read.
        """
        if not self._unsent:
            with contextlib.suppress(BlockingIOError):
                message = message[self._socket.send(message) :]
        if message:
            self._unsent += message
            if len(self._unsent) > MAX_UNSENT_BYTES:
                raise ConnectionError("the other side does not read")

    def send_unsent(self) -> None:
        """Go on sending; to be called when the socket is writable."""
        with contextlib.suppress(BlockingIOError):
            del self._unsent[: self._socket.send(self._unsent)]

    def receive(self) -> bytes | None:
        """What has come; None where nothing has, empty where the other side has closed.

        Raises:
            OSError: the other side has gone.
        """
        try:
            return self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None

    def close(self) -> None:
        self._socket.close()
