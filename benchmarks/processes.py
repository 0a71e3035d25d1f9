"""The service as a benchmark starts it, and what machine this is."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def start_service(exports: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The process and its URL; nobody has waited for it yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "SERVICE_EXPORTS": str(exports), "SERVICE_PORT": str(port)}
    with log.open("wb") as output:
        service = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stdout=output, stderr=output)
    return service, f"http://127.0.0.1:{port}"


def first_answer(url: str, data: bytes | None = None, *, timeout_s: float = 60) -> bytes:
    """Ask every 5 ms until there is a 200; its body.

    Raises:
        TimeoutError: there was none.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, data, timeout=timeout_s) as response:
                return response.read()
        except OSError:  # nobody listens yet, or the answer is an error
            time.sleep(0.005)
    raise TimeoutError(f"{url} did not answer within {timeout_s:g} s.")


def machine() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{len(os.sched_getaffinity(0))} cores, {names[0] if names else 'unknown processor'}"
