"""Starts what serves one SavedModel: gunicorn, with one process that holds the model and answers."""

import contextlib
import logging
import math
import os
import shlex
import signal
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from service.config import PREFIX, BadSetting, Config, is_loopback
from service.http.api_keys import Keys, read_keys
from service.look.app import create_app
from service.look.engine import Engine, choose_engine, load, reason
from service.look.kinds import described
from service.look.saved_model import SavedModel, read_saved_model
from service.machine import hold_signal_across_forks
from service.worker.gunicorn_settings import settings_for

log = logging.getLogger(__name__)

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def check_host(config: Config, path: Path) -> None:
    """
    Raises:
        BadSetting: others than this machine could ask.
    """
    if not is_loopback(config.host):
        raise BadSetting(
            f"{PREFIX}HOST is {config.host}, and --model serves this machine alone, on a loopback address such as "
            f"127.0.0.1 or ::1: the model is not verified. To serve others, import it: striate import "
            f"{shlex.quote(str(path))} --name NAME."
        )


def serve(config: Config, path: Path) -> int:
    """Serve the SavedModel at `path` until SIGTERM, SIGINT or SIGHUP; the exit status.

    Raises:
        UserError: it cannot be served; nothing of it was executed.
    """
    model = read_saved_model(path)
    application = Application(config, read_keys(config), model, choose_engine(config, model))
    hold_signal_across_forks(signal.SIGTERM)
    try:
        application.run()
    except SystemExit as end:
        return 1 if end.code else 0
    return 0


class Application(BaseApplication):
    """gunicorn with this model. Its one worker loads it, since TensorFlow does not survive a fork."""

    def __init__(self, config: Config, keys: Keys, model: SavedModel, engine: str) -> None:
        self._config = config
        self._keys = keys
        self._model = model
        self._engine = engine
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = settings_for(self._config) | {
            "workers": 1,
            "timeout": max(60, math.ceil(self._config.load_timeout_s)),  # the worker also loads the model
            "when_ready": end_on_hangup,
            "post_fork": lambda arbiter, worker: self._load_model(),
            "worker_exit": lambda arbiter, worker: end_worker(worker),
            "post_worker_init": lambda worker: announce(self._config, self._model, self._engine),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application, in the worker."""
        engine = Engine(self._model, self._compute, deadline_s=self._config.deadline_s)
        return create_app(self._config, self._keys, self._model, engine)

    def _load_model(self) -> None:
        """In the worker, before gevent changes Python's own threads: TensorFlow cannot be imported after that.

        A signal ends the worker at once until gunicorn's own handlers are there.
        """
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        try:
            self._compute = load(self._model, self._engine)
        except Exception as error:  # whatever a library raises
            message = f"Error: {self._engine} cannot load {self._model.folder}: {reason(error)}"
            print(message, file=sys.stderr, flush=True)
            os._exit(Arbiter.WORKER_BOOT_ERROR)  # the master ends, too
        # The libraries that TensorFlow has imported know Python's own TLS, which nothing here uses.
        warnings.filterwarnings("ignore", "Monkey-patching ssl")


def end_on_hangup(arbiter: Any) -> None:
    """A closed terminal ends the service, unless it was started with nohup; gunicorn would load the model again."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN if HANGUP_IS_IGNORED else partial(end, arbiter))


def end_worker(worker: Any) -> None:
    """In the worker, at its end: the interpreter's own end and TensorFlow's would get into each other's way."""
    if worker.pid == os.getpid():
        os._exit(0)


def end(arbiter: Any, *_: object) -> None:
    arbiter.signal(signal.SIGTERM, None)


HANGUP_IS_IGNORED = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def announce(config: Config, model: SavedModel, engine: str) -> None:
    """Tell the person who has started it what can be asked, where, and what cannot."""
    url = f"http://{config.address}"
    lines = [
        f"Striate answers at {url}/ with version {model.version} of {model.name}, computed by {engine}, for a look:",
        "",
        *(f"  input   {name}: {described(tensor)}" for name, tensor in model.inputs.items()),
        *(f"  output  {name}: {described(tensor)}" for name, tensor in model.outputs.items()),
        "",
        f"  TensorFlow Serving  POST {url}/v1/models/{model.name}:predict",
        f"  Open Inference      POST {url}/v2/models/{model.name}/infer",
        "",
        model.how_to_import,
        "",
    ]
    log.info("%s version %d answers at %s, computed by %s", model.name, model.version, url, engine)
    with contextlib.suppress(OSError):  # standard output is closed
        print("\n".join(lines), flush=True, file=sys.stdout)
