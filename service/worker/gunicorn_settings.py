"""gunicorn's settings, made from ours, wherever gunicorn runs: for published models and for `--model`."""

import math
from typing import Any

from service.config import Config


def settings_for(config: Config) -> dict[str, Any]:
    """By gunicorn's names; without those of the application, its processes and their files."""
    return {
        "bind": config.address,
        "worker_class": "service.worker.gunicorn_worker.Worker",
        "worker_connections": 4000,
        "control_socket_disable": True,
        # Nobody may say SCRIPT_NAME or PATH_INFO in a header,
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        "secure_scheme_headers": {},  # nor the scheme; gunicorn would believe whoever asks from this machine
        "header_map": "drop",  # of names with underscores, which would pass for others
        "keepalive": math.ceil(config.read_timeout_s),  # for gevent workers: until a request's head is complete
        "timeout": 60,  # a worker whose loop stands still for longer is replaced
        "graceful_timeout": math.ceil(config.stop_timeout_s),
        "proc_name": "striate",
        "accesslog": None,
        "loglevel": "warning",
    }
