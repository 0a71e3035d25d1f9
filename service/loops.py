"""Periodic background work of a process."""

import logging
from collections.abc import Callable

import gevent

log = logging.getLogger(__name__)


def repeat(action: Callable[[], object], *, every_s: float) -> None:
    """Call `action` periodically. An exception is logged and does not end the loop."""
    while True:
        try:
            action()
        except Exception:
            log.exception("%s failed; it is tried again in %g s", action, every_s)
        gevent.sleep(every_s)
