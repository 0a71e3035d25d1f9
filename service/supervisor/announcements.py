"""What the supervisor tells the person who has started it: settings, the default model, and a command to try."""

import contextlib
import logging
import socket

from models.bundle.manifest import GOLDEN
from service.config import Config, is_loopback
from service.ipc.routes import Routes
from service.machine import available_cores, choose_engine
from service.supervisor.model import Model

log = logging.getLogger(__name__)


def log_settings(config: Config) -> None:
    log.info("settings: %s", ", ".join(f"{name}={value}" for name, value in config.shown().items()))
    workers = config.workers or available_cores()
    decoders = -(-available_cores() // workers)
    log.info("%d HTTP processes, with %d decoder processes each, on %d cores", workers, decoders, available_cores())
    if config.feedback_open:
        who = "everybody on this machine" if is_loopback(config.host) else "everybody who may classify"
        log.warning("feedback is open (SERVICE_FEEDBACK_OPEN=1): %s may label images for training", who)
    log.info("engine %s: %s", *choose_engine(config.engine))


def log_default(before: Routes, after: Routes) -> None:
    """Say which model answers requests that name none, when that or the list of models has changed."""
    new = after.models.keys() - before.models.keys()
    if not new and after.default_model == before.default_model:
        return
    if after.default_model is None:
        log.warning("there are %d models and no default: striate default MODEL", len(after.models))
    elif after.default_model not in after.models:
        log.warning("the default model, %s, is not published: /classify answers 404", after.default_model)
    else:
        others = sorted(new - {after.default_model})
        beside = f"; {', '.join(others)} answer at /models/<name>/classify" if others else ""
        log.info("the default model is %s%s", after.default_model, beside)


def print_address(config: Config, model: Model, *, needs_key: bool) -> None:
    """Print the page's address, and a command that classifies an image of the model's own.

    Args:
        needs_key: whether classifying needs an API key; a placeholder stands for it.
    """
    url = f"http://{config.address}"
    golden = model.home / str(model.serving) / GOLDEN / "0"
    key = "-H 'X-API-Key: YOUR-KEY' " if needs_key else ""
    curl = f"curl {key}--data-binary @{golden} {url}/models/{model.home.name}/classify"
    with contextlib.suppress(OSError):  # standard output is closed
        print(f"Striate answers at {url}/\n\n  {curl}\n", flush=True)


def is_listening(config: Config) -> bool:
    try:
        socket.create_connection((config.host, config.port), timeout=0.2).close()
    except OSError:
        return False
    return True
