"""Python imports this when it starts, where this folder is on PYTHONPATH: the processes of tests.processes.

It notes in SPY_LOG which names the process looks up, and which addresses it connects to, beyond this machine, and
prevents it. It hears what Python calls, whichever library does it; not what native code does by itself.
"""

import ipaddress
import os
import socket
import sys
from typing import Any

LOG = os.environ["SPY_LOG"]
ASKED_BY_NAME = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


def spy(event: str, arguments: tuple[Any, ...]) -> None:
    if not event.startswith("socket."):
        return
    host: Any = None
    if event in ASKED_BY_NAME:
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        connection, address = arguments
        sends = event == "socket.sendto" or connection.type != socket.SOCK_DGRAM  # who connects by UDP sends nothing
        host = address[0] if sends and connection.family in (socket.AF_INET, socket.AF_INET6) else None
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host and not is_here(host):
        with open(LOG, "a", encoding="utf-8") as file:  # noqa: PTH123 - a small import for every process
            file.write(f"{event} {host}: {' '.join(' '.join(sys.orig_argv).split())[:300]}\n")
        raise OSError(f"The tests let nobody out: {event} {host}")


def is_here(host: str) -> bool:
    """Whether it is this machine: a socket can be bound to its own addresses only."""
    if host in ("localhost", socket.gethostname()):
        return True
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            ipaddress.ip_address(host)  # no name, which binding would look up
            probe.bind((host, 0))
    except (ValueError, OSError):
        return False
    return True


sys.addaudithook(spy)
