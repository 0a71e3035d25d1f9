"""Requests at a fixed rate, answered or not: `python -m benchmarks.open_loop URL BODY RATE SECONDS`.

A client that waits for its answer before it asks again slows down with the service and hides how long others would
have waited. Prints JSON: for each request when it was due (CLOCK_MONOTONIC), how long after that its answer came, and
its status, where 0 is none. It speaks just enough HTTP to take little of the processor that the service needs.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from urllib.parse import SplitResult, urlsplit  # noqa: E402

import gevent  # noqa: E402

TIMEOUT_S = 30
IDLE_S = 5.0  # a connection that was not used for longer may be closed just now by the other side


def main(url: str, body: bytes, rate: float, seconds: float) -> None:
    address = urlsplit(url)
    head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    message = head.encode() + body
    idle: list[tuple[float, socket.socket]] = []
    answers: list[tuple[float, float, int]] = []

    def ask(due: float) -> None:
        last_used, connection = idle.pop() if idle else (0.0, None)
        try:
            if connection is None or time.monotonic() - last_used > IDLE_S:
                connection = connect(address)
            connection.sendall(message)
            status, stays = read_answer(connection)
            if stays:
                idle.append((time.monotonic(), connection))
        except (OSError, ValueError):
            status = 0
        answers.append((due, time.monotonic() - due, status))

    began = time.monotonic()
    asking = []
    for i in range(int(rate * seconds)):
        due = began + i / rate
        gevent.sleep(max(0.0, due - time.monotonic()))
        asking.append(gevent.spawn(ask, due))
    gevent.joinall(asking)
    print(json.dumps(sorted(answers)))


def connect(address: SplitResult) -> socket.socket:
    connection = socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answer(connection: socket.socket) -> tuple[int, bool]:
    """Read a whole answer, whose length its head says. Returns its status, and whether another may be asked for.

    Raises:
        OSError, ValueError: it does not come in time, or is none.
    """
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += receive(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    _, _, after = head.lower().partition(b"content-length:")
    missing = int(after.split(b"\r\n", 1)[0]) - len(body)
    while missing > 0:
        missing -= len(receive(connection))
    return int(head[9:12]), b"connection: close" not in head.lower()


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError
    return data


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).read_bytes(), float(sys.argv[3]), float(sys.argv[4]))
