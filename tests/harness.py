"""The real service as a subprocess, and ways to disturb it."""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.processes import free_port, start

START_TIMEOUT_S = 40
STOP_TIMEOUT_S = 40
PAUSE_S = 0.005  # of a client between an answer and its next request; without any they would take all of the machine
stopping: list[subprocess.Popen[bytes]] = []  # services that were asked to stop; tests/conftest.py waits for their ends


@dataclass
class RunningService:
    """A started `python -m service`; `url` is where it answers."""

    process: subprocess.Popen[bytes]
    url: str
    log_path: Path

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM, *, timeout: float = STOP_TIMEOUT_S) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def pids(self, module: str) -> list[int]:
        """Processes below the supervisor whose command line names this module, children's children too."""
        return [pid for pid in descendants(self.process.pid) if module in command_line(pid)]

    def engine(self, version: int) -> int:
        """The process that runs one version."""
        (pid,) = [pid for pid in self.engines() if name_of(pid).startswith(f"engine {version} ")]
        return pid

    def engines(self) -> list[int]:
        """Processes that have a version to load or to run; the spare has none."""
        return [pid for pid in self.pids("service.engine") if name_of(pid).startswith("engine ")]

    def spares(self) -> list[int]:
        return [pid for pid in self.pids("service.engine") if name_of(pid) == "spare engine"]


@contextlib.contextmanager
def running_service(
    exports: Path | str, work: Path, *, ready: bool = True, **settings: object
) -> Iterator[RunningService]:
    """Start the service with these SERVICE_ settings; wait until it is ready; in the end ask it to stop."""
    port = free_port()
    variables = {f"SERVICE_{name.upper()}": str(value) for name, value in settings.items()}
    variables |= {"SERVICE_EXPORTS": str(exports), "SERVICE_PORT": str(port)}
    variables.setdefault("SERVICE_FEEDBACK", str(work / "feedback"))
    log_path = work / f"service-{port}.log"
    process = start("-m", "service", log=log_path, **variables)
    service = RunningService(process, f"http://127.0.0.1:{port}", log_path)
    try:
        path = "/readyz" if ready else "/healthz"
        wait_until(lambda: status_of(service, path) == 200, service, START_TIMEOUT_S)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            stopping.append(process)


def wait_until(condition: Callable[[], bool], service: RunningService, timeout_s: float = 60) -> None:
    """Ask again and again, quickly; on failure print what the service logged (the message stays a line).

    An engine beside one that answers loads at the lowest priority: other tests can hold it up for half a minute.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        ended = service.process.poll() is not None
        if ended or time.monotonic() > deadline:
            print(service.log())
            raise AssertionError("the service ended" if ended else f"waited {timeout_s} s in vain")
        time.sleep(0.02)


def status_of(service: RunningService, path: str) -> int:
    try:
        return requests.get(service.url + path, timeout=5).status_code
    except requests.ConnectionError:
        return 0


def descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [p for child in children for p in (child, *descendants(child))]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_for_end(pid: int) -> None:
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([end], [], [], 15)[0], f"process {pid} lives on"
    os.close(end)


def memory_of(pid: int) -> int:
    """Bytes that a process holds: its private ones and its share of others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def golden_image(exports: Path, name: str = "3") -> bytes:
    return (exports / "digits" / "1" / "assets.extra" / "golden" / name).read_bytes()


def copy_of(exports: Path, target: Path) -> Path:
    """An exports folder of one's own, to publish into and to break."""
    shutil.copytree(exports, target)
    return target


def metric(service: RunningService, pattern: str, headers: dict[str, str] | None = None) -> float:
    """Sum of the samples whose line matches."""
    text = requests.get(f"{service.url}/metrics", headers=headers, timeout=5).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(pattern, line))


@dataclass
class Load:
    """Clients that classify one image over and over until stopped, and what each was answered."""

    service: RunningService
    image: bytes
    path: str = "/classify"
    num_clients: int = 4
    keeps_connections: bool = True
    answers: list[tuple[int, dict]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(self.num_clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with requests.Session() as session:
            if not self.keeps_connections:
                session.headers["Connection"] = "close"
            while not self._stopping.is_set():
                try:
                    response = session.post(self.service.url + self.path, data=self.image, timeout=30)
                    self.answers.append((response.status_code, response.json()))
                    time.sleep(PAUSE_S)
                except requests.RequestException as error:
                    self.failures.append(repr(error))
                    return

    def wait_for(self, count: int) -> None:
        """Until so many answers more have come."""
        target = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= target or bool(self.failures), self.service)

    def assert_all_answered(self) -> None:
        wrong = [(status, body) for status, body in self.answers if status != 200]
        assert not self.failures
        assert not wrong, wrong[:3]
        assert self.answers
