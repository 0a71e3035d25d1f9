"""Chooses the batch size with the highest throughput, measured on the batches that are computed.

What is measured at the start is a first guess: the machine may have been busy then. While the service answers, each
batch says how long its size takes, so that a bad guess heals and a good one stays.
"""

from collections import deque
from collections.abc import Iterator, Mapping

LONGEST_BATCH_S = 0.2  # larger batches would add latency
NUM_RECENT = 8  # batches of each size; the quickest of them counts, since the others were disturbed
NEARLY = 0.95  # of the highest throughput; the largest size that reaches it is used, because timings are noisy
TRIAL_INTERVAL = 50  # times as long as a batch of a size takes is computed before that size is tried again
SHORTEST_S = 1e-9  # what is divided by is not 0


class BatchSizes:
    """How long a batch of each size takes, now.

    Args:
        seconds: that a batch of each size took at the start, as far as that was measured.
        max_batch_size: no batch is larger.
        takes_any_size: whether the first batch of a size says how long the next will take.
    """

    def __init__(self, seconds: Mapping[int, float], max_batch_size: int, *, takes_any_size: bool = True) -> None:
        self._sizes = list(powers_of_two(max_batch_size))
        self._guesses = {size: max(took, SHORTEST_S) for size, took in seconds.items()}
        self._takes_any_size = takes_any_size
        self._recent: dict[int, deque[float]] = {}
        self._without_s = dict.fromkeys(self._sizes, 0.0)  # computed since a size was last computed
        self._fit()

    @property
    def largest(self) -> int:
        return self._sizes[-1]

    def best(self, waiting: int) -> int:
        """The size that gets most images done a second when so many wait; places for which nobody waits are waste.

        The sizes next to that one are tried again now and then if enough images wait: something else may have kept the
        machine busy when they were measured.
        """
        rates = {size: min(size, waiting) / self._seconds[size] for size in self._allowed}
        enough = NEARLY * max(rates.values())
        best = max(size for size, rate in rates.items() if rate >= enough)
        for size in (2 * best, best // 2):
            if size in rates and size <= waiting and self._without_s[size] >= TRIAL_INTERVAL * self._seconds[size]:
                return size
        return best

    def observe(self, size: int, seconds: float) -> None:
        """A batch of this size has taken so long."""
        if size not in self._recent:
            self._recent[size] = deque([self._seconds[size]], NUM_RECENT)
            if not self._takes_any_size and size not in self._guesses:
                return  # it was compiled first
        self._recent[size].append(max(seconds, SHORTEST_S))
        for other in self._sizes:
            self._without_s[other] += seconds
        self._without_s[size] = 0.0
        self._fit()

    def observe_failure(self, size: int, seconds: float) -> None:
        """A batch of this size has failed after so long, which costs computing each of its images alone as well.

        Other sizes are taken then, and this one is tried again as seldom as any that is slow: it may be too large for
        the memory, or one of the images may have been the cause.
        """
        if size > 1:
            self._recent[size] = deque([max(seconds, 0.0) + size * self._seconds[1]], NUM_RECENT)
            self._without_s[size] = 0.0
            self._fit()

    def _fit(self) -> None:
        """Seconds of each size, and the sizes that are not too long.

        A size that has not been computed here is taken to be no slower than the one below it, image for image.
        """
        self._seconds: dict[int, float] = {}
        self._allowed: list[int] = []
        at_most = twice = self._guesses.get(1, LONGEST_BATCH_S)
        for size in self._sizes:
            recent = self._recent.get(size)
            self._seconds[size] = min(recent) if recent else min(twice, self._guesses.get(size, twice))
            at_most = min(self._seconds[size], at_most)
            if size == 1 or at_most <= LONGEST_BATCH_S:
                self._allowed.append(size)
            at_most, twice = 2 * at_most, 2 * self._seconds[size]


def powers_of_two(largest: int) -> Iterator[int]:
    """1, 2, 4 and so on, up to this."""
    return (2**i for i in range(max(1, largest).bit_length()))
