"""Large bodies come one after another, and no faster than others can bear."""

import heapq
import itertools

import gevent
from gevent.event import Event

from service.errors import Overloaded

FREE_BYTES = 256_000  # of each body
BYTES_PER_S = 50e6  # of what is read beyond that by an HTTP worker: up to a quarter of its time, if it has to unpack it
LONGEST_WAIT_S = 5.0  # between two pieces of a body


class Uploads:
    """The large bodies that one HTTP worker reads. Of those whose next piece has come, the oldest is read on.

    So they are complete one after another, and what is to be done with them then does not come all at once.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, Event]] = []  # by the number of the body
        self._is_busy = False

    def begin(self) -> "Upload":
        return Upload(self, next(self._numbers))

    def take(self, number: int, seconds: float) -> None:
        """Have the reading to oneself for so long.

        Raises:
            Overloaded: others had it for too long.
        """
        if self._is_busy:
            self._wait(number)
        self._is_busy = True
        try:
            gevent.sleep(seconds)
        finally:
            self._hand_over()

    def _wait(self, number: int) -> None:
        turn = Event()
        heapq.heappush(self._waiting, (number, turn))
        try:
            turn.wait(LONGEST_WAIT_S)
        except BaseException:  # nobody waits for the body any more
            if turn.is_set():
                self._hand_over()
            else:
                self._give_up(number)
            raise
        if not turn.is_set():
            self._give_up(number)
            raise Overloaded("Too many large bodies arrive. Try again later.")

    def _hand_over(self) -> None:
        self._is_busy = bool(self._waiting)
        if self._waiting:
            _, turn = heapq.heappop(self._waiting)
            turn.set()

    def _give_up(self, number: int) -> None:
        self._waiting = [waiting for waiting in self._waiting if waiting[0] != number]
        heapq.heapify(self._waiting)


class Upload:
    """One body that is being read."""

    def __init__(self, uploads: Uploads, number: int) -> None:
        self._uploads = uploads
        self._number = number
        self._num_bytes = 0

    def has_read(self, num_bytes: int) -> None:
        """So many bytes more are here: let others go first.

        Raises:
            Overloaded: too many other bodies arrive.
        """
        self._num_bytes += num_bytes
        if self._num_bytes <= FREE_BYTES:
            gevent.sleep(0)
        else:
            self._uploads.take(self._number, num_bytes / BYTES_PER_S)


UPLOADS = Uploads()
