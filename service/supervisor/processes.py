"""The supervisor's children: engines, which report over a pipe of their own, and gunicorn."""

import json
import logging
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from models.bundle.manifest import Manifest
from models.process.children import python_command, python_environment
from service.config import Config
from service.machine import choose_engine
from service.telemetry.drift import FOLDER as DRIFT_FOLDER

log = logging.getLogger(__name__)

STANDARD_ERROR = 2
REPORTS: dict[str, dict[str, type]] = {  # by the event: which fields it has
    "ready": {"precision": str, "reason": str, "threads": int, "manifest": dict, "verdict": dict},
    "failed": {"reason": str},
    "beat": {},
}
LEFTOVERS = 5  # factor of the loading timeout for an engine that loads at low priority


class EngineProcess:
    """One engine of one model version, from its start to its end.

    Args:
        considerate: it is to load in the time that a model which answers leaves over.
        verdict: what the engine before has found out about this version; None where there was none.
    """

    def __init__(
        self,
        config: Config,
        bundle: Path,
        version: int,
        endpoint: str,
        environment: dict[str, str],
        *,
        considerate: bool,
        verdict: dict[str, Any] | None = None,
    ) -> None:
        self.pipe, reports = os.pipe()  # its own: whatever a library prints goes to the log
        engine, _ = choose_engine(config.engine)
        settings = {
            "supervisor": os.getpid(),
            "bundle": str(bundle),
            "version": version,
            "endpoint": endpoint,
            "drift": str(Path(endpoint).with_name(DRIFT_FOLDER)),
            "engine": engine,
            "precision": config.precision,
            "max_batch_size": config.max_batch_size,
            "considerate": considerate,
            "verdict": verdict,
            "log_level": config.log_level,
            "log_format": config.log_format,
            "reports": reports,
        }
        self.endpoint = endpoint
        self.load_timeout_s = config.load_timeout_s * (LEFTOVERS if considerate else 1)
        self.engine = engine
        # its report that it has loaded (`precision`, `reason`, `threads`, `manifest`); None before that
        self.ready: dict[str, Any] | None = None
        self._exports = bundle.parents[1]
        self.failure: str | None = None  # why it could not load; None where it did not say
        self.stuck = False  # it was killed because it hung
        self.retired: float | None = None  # when it was asked to stop
        self.started = self.last_beat = time.monotonic()
        self._unread = b""
        self._ready_at: float | None = None
        os.set_blocking(self.pipe, False)
        try:
            self._process = subprocess.Popen(
                python_command("service.engine", json.dumps(settings)),
                stdin=subprocess.DEVNULL,
                stdout=STANDARD_ERROR,
                pass_fds=[reports],
                env=python_environment(environment),
                process_group=0,  # a Ctrl-C is for the supervisor alone; across sessions priorities count for little
            )
        except OSError:
            os.close(self.pipe)
            raise
        finally:
            os.close(reports)  # the engine alone holds it open now

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

    def _note(self, line: bytes) -> None:
        report = read_report(line)
        if report is None:
            log.error("engine %d: this is no report: %s", self.pid, line[:500].decode(errors="replace"))
            return
        self.last_beat = time.monotonic()
        if report["event"] == "ready":
            self.ready, self._ready_at = report, time.monotonic()
        elif report["event"] == "failed":
            self.failure = report["reason"].replace(f"{self._exports}/", "")  # anybody may read it over HTTP


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
