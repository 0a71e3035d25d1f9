"""The supervisor's children: engines, which report over a pipe of their own, and gunicorn."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundle.manifest import Manifest
from models.process.children import python_command, python_environment
from models.process.idle import give_way
from service.config import Config
from service.machine import choose_engine
from service.placement.devices import Device
from service.telemetry.drift import FOLDER as DRIFT_FOLDER

log = logging.getLogger(__name__)

STANDARD_ERROR = 2
REPORTS: dict[str, dict[str, type]] = {  # by the event: which fields it has
    "ready": {"precision": str, "reason": str, "threads": int, "manifest": dict, "verdict": dict},
    "judged": {"verdict": dict},
    "failed": {"reason": str},
    "waiting": {},
    "beat": {},
}
LEFTOVERS = 5  # factor of the loading timeout for an engine that loads at low priority


@dataclass(frozen=True, slots=True)
class Orders:
    """What an engine process is to load, and how.

    Attributes:
        endpoint: path of the socket at which it is to be reached.
        considerate: it is to load in the time that a model which answers leaves over.
        has_idle_time: a process that works in idle time only has lately had enough of it.
        judging: it is only to find out the verdict, in idle time, and to end.
        verdict: what the engine before has found out about this version; None where there was none.
        device: on which it is to compute.
    """

    bundle: Path
    version: int
    endpoint: str
    device: Device
    considerate: bool = False
    has_idle_time: bool = False
    judging: bool = False
    verdict: dict[str, Any] | None = None


@contextlib.contextmanager
def starting_on(cores: Collection[int]) -> Iterator[None]:
    """Processes that the calling thread starts in this block may use these cores alone.

    oneTBB and OpenVINO look once which cores a process may use, and put their threads there whatever is said later.
    """
    usual = os.sched_getaffinity(0)
    try:
        with contextlib.suppress(OSError):  # the machine, or the container, has lost them meanwhile
            os.sched_setaffinity(0, cores)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, usual)


class EngineProcess:
    """One engine of one model version, from its start to its end; it loads nothing before it is given its orders.

    Args:
        cores: it is started on these, so that no library of it ever sees others.
        is_spare: it is to import everything in idle time, to say so, and to wait.
        is_idle: it is to run in idle time only, for as long as it lives.
    """

    def __init__(
        self,
        config: Config,
        environment: dict[str, str],
        cores: Collection[int],
        *,
        is_spare: bool = False,
        is_idle: bool = False,
    ) -> None:
        self.pipe, reports = os.pipe()  # its own: whatever a library prints goes to the log
        self._config = config
        self.engine, _ = choose_engine(config.engine)
        settings = {
            "supervisor": os.getpid(),
            "engine": self.engine,
            "log_level": config.log_level,
            "log_format": config.log_format,
            "reports": reports,
        }
        self.orders: Orders | None = None
        self.load_timeout_s = config.load_timeout_s
        self.waits = False  # it is a spare, and has imported everything
        # its report that it has loaded (`precision`, `reason`, `threads`, `manifest`); None before that
        self.ready: dict[str, Any] | None = None
        self.verdict: dict[str, Any] | None = None  # of one that was only to find it out
        self.failure: str | None = None  # why it could not load; None where it did not say
        self.stuck = False  # it was killed because it hung
        self.retired: float | None = None  # when it was asked to stop
        self.started = self.last_beat = time.monotonic()
        self._unread = b""
        self._ready_at: float | None = None
        os.set_blocking(self.pipe, False)
        try:
            with starting_on(cores):
                self._process = subprocess.Popen(
                    python_command("service.engine", json.dumps(settings), *(["spare"] if is_spare else [])),
                    stdin=subprocess.PIPE,
                    stdout=STANDARD_ERROR,
                    pass_fds=[reports],
                    env=python_environment(environment),
                    process_group=0,  # Ctrl-C is the supervisor's alone; across sessions priorities count for little
                )
        except OSError:
            os.close(self.pipe)
            raise
        finally:
            os.close(reports)  # the engine alone holds it open now
        if is_idle:
            give_way(self.pid)  # now, so that not even the start of Python disturbs others

    def give(self, orders: Orders) -> None:
        """Have it load a version.

        Raises:
            OSError: it has ended.
        """
        config, now = self._config, time.monotonic()
        self.orders, self.started, self.last_beat = orders, now, now
        if orders.considerate and not orders.judging:
            self.load_timeout_s = config.load_timeout_s * LEFTOVERS
        said = {
            "bundle": str(orders.bundle),
            "version": orders.version,
            "endpoint": orders.endpoint,
            "drift": str(Path(orders.endpoint).with_name(DRIFT_FOLDER) / orders.device.name),
            "gpu": orders.device.gpu,
            "precision": config.precision,
            "max_batch_size": config.max_batch_size,
            "considerate": orders.considerate,
            "has_idle_time": orders.has_idle_time,
            "judging": orders.judging,
            "verdict": orders.verdict,
        }
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(json.dumps(said).encode())

    @property
    def device(self) -> Device:
        assert self.orders is not None
        return self.orders.device

    @property
    def endpoint(self) -> str:
        return self.orders.endpoint if self.orders else ""

    @property
    def needs_idle_time(self) -> bool:
        """It loads, or judges, only while nobody else wants the processor."""
        return self.ready is None and bool(self.orders and (self.orders.judging or self.orders.has_idle_time))

    def cpu_s(self) -> float:
        """Processor time that it has taken; 0 once it is gone."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # clock_getcpuclockid(3)
        except OSError:
            return 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    def answered_for_s(self) -> float:
        """Since it was ready; 0 before that."""
        return time.monotonic() - self._ready_at if self._ready_at is not None else 0.0

    def read_reports(self) -> bool:
        """Take in what the engine has reported; False: the pipe is closed, the engine is gone or going."""
        try:
            data = os.read(self.pipe, 65536)
        except BlockingIOError:
            return True
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._note(line)
        return bool(data)

    def retire(self) -> None:
        """Ask it to finish what it has and stop."""
        self.retired = time.monotonic()
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()

    def reap(self) -> int:
        """Wait for the end, which a closed pipe announces, and return the exit status."""
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            os.close(self.pipe)
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()

    def _note(self, line: bytes) -> None:
        report = read_report(line)
        if report is None:
            log.error("engine %d: this is no report: %s", self.pid, line[:500].decode(errors="replace"))
            return
        self.last_beat = time.monotonic()
        if report["event"] == "ready":
            self.ready, self._ready_at = report, time.monotonic()
        elif report["event"] == "judged":
            self.verdict = report["verdict"]
        elif report["event"] == "waiting":
            self.waits = True
        elif report["event"] == "failed":
            exports = self.orders.bundle.parents[1] if self.orders else ""
            self.failure = report["reason"].replace(f"{exports}/", "")  # anybody may read it over HTTP


def read_report(line: bytes) -> dict[str, Any] | None:
    """One line of service.engine, with its manifest as a Manifest; None where the line is anything else."""
    try:
        report = json.loads(line)
        kinds = REPORTS.get(str(report.get("event"))) if isinstance(report, dict) else None
        if kinds is None or not all(isinstance(report.get(name), kind) for name, kind in kinds.items()):
            return None
        return {**report, "manifest": Manifest.from_json(report["manifest"])} if "manifest" in kinds else report
    except (ValueError, RecursionError):
        return None


def start_gunicorn(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        python_command("service.worker", str(os.getpid())),
        stdin=subprocess.DEVNULL,
        env=python_environment(environment),
        process_group=0,
    )
