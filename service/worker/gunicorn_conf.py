"""gunicorn's settings for published models. gunicorn executes this file in its master, which imports nothing heavy."""

import os
import signal
from pathlib import Path
from typing import Any

from service.config import Config
from service.logs import configure_logging
from service.machine import available_cores, hold_signal_across_forks
from service.worker.gunicorn_settings import settings_for

settings = Config.from_environment(os.environ)
hold_signal_across_forks(signal.SIGTERM)  # a worker lets it through when it can heed it: service.worker.gunicorn_worker

globals().update(settings_for(settings))
wsgi_app = "service.worker.wsgi:application"
workers = settings.workers or available_cores()
worker_tmp_dir = os.environ["STRIATE_RUNTIME"]  # in memory: a heartbeat on a slow disk looks like a hang


def child_exit(server: Any, worker: Any) -> None:
    """Remove the live gauges of a worker that has ended."""
    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob(f"gauge_live*_{worker.pid}.db"):
        path.unlink(missing_ok=True)


def post_worker_init(worker: Any) -> None:
    configure_logging(settings.log_level, settings.log_format)
