"""Requests at a fixed rate, answered or not: `python -m benchmarks.open_loop URL BODY RATE SECONDS`.

A client that waits for its answer before it asks again slows down with the service and hides how long others would
have waited. Prints JSON: for each request when it was due, how long after that its answer came, and its status, where
0 is none.
"""

from gevent import monkey

monkey.patch_all()

import http.client  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from urllib.parse import urlsplit  # noqa: E402

import gevent  # noqa: E402
from gevent.queue import LifoQueue  # noqa: E402

TIMEOUT_S = 30


def main(url: str, body: bytes, rate: float, seconds: float) -> None:
    address = urlsplit(url)
    idle: LifoQueue = LifoQueue()
    answers: list[tuple[float, float, int]] = []

    def ask(due: float) -> None:
        connection = idle.get() if not idle.empty() else http.client.HTTPConnection(address.netloc, timeout=TIMEOUT_S)
        try:
            connection.request("POST", address.path, body)
            response = connection.getresponse()
            response.read()
            status = response.status
            idle.put(connection)
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        answers.append((due - began, time.monotonic() - due, status))

    began = time.monotonic()
    asking = []
    for i in range(int(rate * seconds)):
        due = began + i / rate
        gevent.sleep(max(0.0, due - time.monotonic()))
        asking.append(gevent.spawn(ask, due))
    gevent.joinall(asking)
    print(json.dumps(sorted(answers)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).read_bytes(), float(sys.argv[3]), float(sys.argv[4]))
