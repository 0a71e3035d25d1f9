"""Commands run as users run them: in processes of their own, whose output is shown when they fail."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def python(*arguments: object, status: int = 0, timeout_s: float = 240) -> str:
    """What `python ARGUMENTS` says on both streams, once it has ended with this status."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == status, f"{arguments} ended with {done.returncode}, not {status}:\n{done.stdout}"
    return done.stdout


def start(*arguments: object, log: Path, **variables: str) -> subprocess.Popen[bytes]:
    """`python ARGUMENTS` in the background, both streams going to `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env={**environment(), **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def environment() -> dict[str, str]:
    """Ours without the settings of a service that the developer may have set."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SERVICE_", "STRIATE_"))}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
