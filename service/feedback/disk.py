"""The feedback folder as one HTTP worker uses it: one thread reads and writes it, and requests wait for that thread."""

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gevent.threadpool import ThreadPool

from models.bundle.preprocessing import BadImage
from models.files.deadline import ChangeCancelled, PendingChange
from service.config import Config
from service.errors import Conflict, Forbidden, Overloaded, StorageFull, from_bad_image
from service.feedback.store import FeedbackFull, FeedbackStore
from service.http.in_thread import in_thread, in_thread_within

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_WAITING = 100  # queued operations
TIMEOUT_S = 10.0  # for the disk, and for whoever writes at the same time
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
BUSY = "The feedback folder is busy, and nothing was changed. Try again later."


class FeedbackDisk:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._stores: dict[str, FeedbackStore] = {}
        self._threads = ThreadPool(1)
        self._num_waiting = 0

    def store(self, model: str) -> FeedbackStore:
        """Where a model's feedback goes.

        Raises:
            Forbidden: SERVICE_FEEDBACK names no folder.
        """
        if not self._config.feedback:
            raise Forbidden("This service takes no feedback: SERVICE_FEEDBACK names no folder.")
        if model not in self._stores:
            home = Path(self._config.feedback) / model
            self._stores[model] = FeedbackStore(home, max_bytes=self._config.feedback_bytes)
        return self._stores[model]

    def read(self, action: Callable[[], T]) -> T:
        """Read the folder in the thread; errors as in `change`."""
        return self.change(lambda _: action())

    def change(self, action: Callable[[PendingChange], T]) -> T:
        """Change the folder in the thread. A change that was answered with an error is never made.

        Raises:
            Overloaded: too many operations are queued.
            StorageFull: the budget or the disk is full.
            Conflict: the folder cannot be read or written, or another process holds it.
        """
        if self.is_busy:
            raise Overloaded("Too much feedback is waiting for the disk. Try again later.")
        self._num_waiting += 1
        try:
            return in_thread_within(self._threads, action, TIMEOUT_S)
        except ChangeCancelled:
            raise Conflict(BUSY) from None
        except FeedbackFull as error:
            raise StorageFull(str(error)) from None
        except BadImage as error:
            raise from_bad_image(error, "") from None
        except OSError as error:
            log.error("feedback: %s", error)
            if error.errno in DISK_FULL:
                raise StorageFull("The disk is full; nothing was stored.") from None
            raise Conflict(f"The feedback folder cannot be used ({error.strerror}).") from None
        finally:
            self._num_waiting -= 1

    @property
    def is_busy(self) -> bool:
        return self._num_waiting >= MAX_WAITING

    def work(self, action: Callable[[], T]) -> T:
        """Call `action` in the thread, however long it takes; for work that no request waits for."""
        self._num_waiting += 1
        try:
            return in_thread(self._threads, action)
        finally:
            self._num_waiting -= 1
