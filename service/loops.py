"""Work that a process does again and again beside what it is asked for."""

import logging
from collections.abc import Callable

import gevent

log = logging.getLogger(__name__)


def repeat(action: Callable[[], object], *, every_s: float) -> None:
    """Whatever `action` raises is logged, and it is called again: nobody would miss a loop that has ended."""
    while True:
        try:
            action()
        except Exception:
            log.exception("%s failed; it is tried again in %g s", action, every_s)
        gevent.sleep(every_s)
