"""What gunicorn's workers load: the application, from the environment that the supervisor gave them."""

import os
from pathlib import Path

from flask import Flask

from service.config import Config
from service.ipc.counts import Counts
from service.worker.app import create_app


def application(counts: Counts) -> Flask:
    return create_app(Config.from_environment(os.environ), Path(os.environ["STRIATE_RUNTIME"]), counts)
