"""gunicorn's settings, made from ours. gunicorn executes this file in its master, which imports nothing heavy."""

import math
import os
import signal
from pathlib import Path
from typing import Any

from service.config import Config
from service.logs import configure_logging
from service.machine import available_cores, hold_signal_across_forks

settings = Config.from_environment(os.environ)
hold_signal_across_forks(signal.SIGTERM)  # a worker lets it through when it can heed it: service.worker.gunicorn_worker

wsgi_app = "service.worker.wsgi:application"
bind = settings.address
workers = settings.workers or available_cores()
worker_class = "service.worker.gunicorn_worker.Worker"
worker_connections = 4000
worker_tmp_dir = os.environ["STRIATE_RUNTIME"]  # in memory: a heartbeat on a slow disk looks like a hang
control_socket_disable = True
forwarded_allow_ips = forwarder_headers = ""  # nobody may say SCRIPT_NAME or PATH_INFO in a header,
secure_scheme_headers: dict[str, str] = {}  # nor the scheme; gunicorn would believe whoever asks from this machine
header_map = "drop"  # of names with underscores, which would pass for others
keepalive = math.ceil(settings.read_timeout_s)  # for gevent workers: until a request's head is complete
timeout = 60  # a worker whose loop stands still for longer is replaced
graceful_timeout = math.ceil(settings.stop_timeout_s)
proc_name = "striate"
accesslog = None
loglevel = "warning"


def child_exit(server: Any, worker: Any) -> None:
    """Remove the live gauges of a worker that has ended."""
    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob(f"gauge_live*_{worker.pid}.db"):
        path.unlink(missing_ok=True)


def post_worker_init(worker: Any) -> None:
    configure_logging(settings.log_level, settings.log_format)
