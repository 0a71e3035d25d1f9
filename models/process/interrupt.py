"""Ctrl-C ends a command with exit status 130, as shells have it, and without a traceback.

While modules are imported the process ends at once: an exception in the middle of an import may be swallowed, or come
out as another one. While a command works, Ctrl-C is a KeyboardInterrupt, so that it can clean up
(`models.process.commands`).
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

INTERRUPTED = 130


def end_at_once(*_: object) -> None:
    """A handler of SIGINT."""
    os._exit(INTERRUPTED)


def handle_interrupt(handler: Any) -> Any:
    """Replace the handler of SIGINT, unless SIGINT is ignored, as it is for a script's jobs in the background.

    Returns:
        The handler as it was before.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
    return before


@contextlib.contextmanager
def interrupts_handled_by(handler: Any) -> Iterator[None]:
    before = handle_interrupt(handler)
    try:
        yield
    finally:
        handle_interrupt(before)
