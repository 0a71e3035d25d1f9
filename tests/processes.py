"""Commands run as users run them: in processes of their own, whose output is shown when they fail.

All of them are spied on (tests/spy), and have a home folder of their own: whatever a command does, it looks up no name,
connects to no other machine, and leaves nothing in the user's home. tests/conftest.py looks after each test.
"""

import atexit
import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WATCHED = Path(tempfile.mkdtemp(prefix="striate-watched-"))
HOME, SPY_LOG = WATCHED / "home", WATCHED / "spy.log"
HOME.mkdir()
FIRST_PORT, PORTS = 12_000, 20_000  # the kernel's own begin at 32,768
counter = itertools.count(os.getpid() * 101)
atexit.register(shutil.rmtree, WATCHED, ignore_errors=True)


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
    """Ours without the settings of a service that the developer may have set; spied on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SERVICE_", "STRIATE_"))}
    return {**kept, "HOME": str(HOME), "SPY_LOG": str(SPY_LOG), "PYTHONPATH": str(ROOT / "tests" / "spy")}


def gone_astray() -> list[str]:
    """What commands have looked up or connected to, and the files in their home, since this was asked last."""
    found = SPY_LOG.read_text().splitlines() if SPY_LOG.exists() else []
    SPY_LOG.unlink(missing_ok=True)
    left = sorted(HOME.iterdir())
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [*found, *map(str, left)]


def free_port() -> int:
    """A port at which nothing listens, and which nobody else is given until somebody does.

    The kernel would take one from the range of its outgoing connections, which may be in use a moment later. These lie
    below that range; every process of pytest counts from another one, and hands out each only once.
    """
    for _ in range(PORTS):
        port = FIRST_PORT + next(counter) % PORTS
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"Every port from {FIRST_PORT} to {FIRST_PORT + PORTS} is in use.")
