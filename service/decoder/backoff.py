"""When decoders cannot be started, that is tried again after pauses, and the log says it once."""

import logging
import time

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0


class Backoff:
    """Pauses between attempts that fail, each twice as long as the one before."""

    def __init__(self) -> None:
        self._pause_s = 0.0
        self._next = 0.0

    def may_try(self) -> bool:
        return time.monotonic() >= self._next

    def note_failure(self, reason: str) -> None:
        if not self.may_try():
            return  # others, which were started together with one that has failed
        if not self._pause_s:
            log.error(
                "no decoder could be started: %s. Requests that need one get 503. It is tried again after pauses of "
                "%g to %g s.",
                reason,
                FIRST_PAUSE_S,
                LONGEST_PAUSE_S,
            )
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s or FIRST_PAUSE_S)
        self._next = time.monotonic() + self._pause_s

    def note_success(self) -> None:
        if self._pause_s:
            log.info("decoders can be started again")
        self._pause_s = self._next = 0.0
