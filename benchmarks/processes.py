"""Waiting for a server, and under what circumstances something was measured."""

import os
import re
import time
import urllib.request
from pathlib import Path

from training.runs.lineage import git_revision


def first_answer(url: str, data: bytes, *, headers: dict[str, str], timeout_s: float) -> bytes:
    """POST every 5 ms until there is a 200; its body.

    Raises:
        TimeoutError: there was none.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            request = urllib.request.Request(url, data, headers)
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return response.read()
        except OSError:  # nobody listens yet, or the answer is an error
            time.sleep(0.005)
    raise TimeoutError(f"{url} did not answer within {timeout_s:g} s.")


def circumstances() -> dict[str, str | None]:
    """The commit, "-dirty" where files differ from it; the machine; the date."""
    return {"commit": git_revision(), "machine": machine(), "date": time.strftime("%Y-%m-%d")}


def machine() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{len(os.sched_getaffinity(0))} cores, {names[0] if names else 'unknown processor'}"
