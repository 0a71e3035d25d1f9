"""gunicorn's settings, made from ours. gunicorn executes this file in its master, which imports nothing heavy."""

import math
import os
import signal
from pathlib import Path
from typing import Any

from service.config import Config
from service.logs import configure_logging
from service.machine import available_cores, die_with_parent, hold_signal_across_forks

settings = Config.from_environment(os.environ)
die_with_parent(signal.SIGTERM)
hold_signal_across_forks(signal.SIGTERM)  # a worker lets it through when it can heed it: service.worker

wsgi_app = "service.wsgi:application"
bind = settings.address
workers = settings.workers or available_cores()
worker_class = "service.worker.Worker"
worker_connections = settings.max_connections
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a heartbeat on a slow disk looks like a hang
control_socket_disable = True
keepalive = math.ceil(settings.read_timeout_s)  # for gevent workers: until a request's head is complete
timeout = 60  # a worker whose loop stands still for longer is replaced
graceful_timeout = math.ceil(settings.stop_timeout_s)
proc_name = "striate"
accesslog = None
loglevel = "warning"


def post_worker_init(worker: Any) -> None:
    configure_logging(settings.log_level)
