"""Background work of a process: at intervals, or when a file is replaced."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent

from models.files.watch import forget, watch

log = logging.getLogger(__name__)


def repeat(action: Callable[[], object], *, every_s: float) -> None:
    """Call `action` periodically. An exception is logged and does not end the loop."""
    while True:
        try:
            action()
        except Exception:
            log.exception("%s failed; it is tried again in %g s", action, every_s)
        gevent.sleep(every_s)


def when_replaced(folder: Path, action: Callable[[], object]) -> Any:
    """Call `action` in a greenlet whenever a file of the folder was replaced, at once.

    Returns:
        What has to be kept for that; None where the system does not tell of such changes.
    """
    descriptor = watch(folder)
    if descriptor is None:
        return None

    def told() -> None:
        forget(descriptor)
        gevent.spawn(action)

    watcher = gevent.get_hub().loop.io(descriptor, 1)  # 1: readable
    watcher.start(told)
    return watcher
