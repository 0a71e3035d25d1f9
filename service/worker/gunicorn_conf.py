"""gunicorn's settings for published models. gunicorn executes this file in its master, which imports nothing heavy."""

import os
import signal
from pathlib import Path
from typing import Any

from models.process.parent import die_with_parent
from service.config import Config
from service.ipc.counts import SharedCounts
from service.logs import configure_logging
from service.machine import available_cores, hold_signal_across_forks
from service.worker.gunicorn_settings import settings_for

settings = Config.from_environment(os.environ)
hold_signal_across_forks(signal.SIGTERM)  # a worker lets it through when it can heed it: service.worker.gunicorn_worker

globals().update(settings_for(settings))
wsgi_app = "service.worker.wsgi:application"  # which the worker makes itself
workers = settings.workers or available_cores()
worker_tmp_dir = os.environ["STRIATE_RUNTIME"]  # in memory: a heartbeat on a slow disk looks like a hang

shared = SharedCounts(rows=2 * workers + 2)  # old and new ones overlap when gunicorn is told to start them anew


def pre_fork(server: Any, worker: Any) -> None:
    worker.counts = shared.claim()


def post_fork(server: Any, worker: Any) -> None:
    die_with_parent(signal.SIGKILL, server.pid)  # if it is killed; else it waits for its workers


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a worker that has ended counted at present: its live gauges, and its part of the shared counts."""
    shared.release(worker.counts)
    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob(f"gauge_live*_{worker.pid}.db"):
        path.unlink(missing_ok=True)


def post_worker_init(worker: Any) -> None:
    configure_logging(settings.log_level, settings.log_format)


def worker_exit(server: Any, worker: Any) -> None:
    """Write what the last requests have left to be written."""
    service = getattr(getattr(worker, "wsgi", None), "extensions", {}).get("striate")
    if service is not None:
        service.ledger.flush()
