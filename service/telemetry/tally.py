"""Counts kept in plain lists, and added to Prometheus's metrics ten times a second.

A metric of several processes is a mapped file behind a lock: each change takes microseconds, and a request changes
twenty. Here each costs one addition to a list, and all values of one series are added together.
"""

from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict

from prometheus_client import Counter, Histogram

FLUSH_INTERVAL_S = 0.1


class Tally:
    """What one process has counted and not added yet; used by one thread."""

    def __init__(self) -> None:
        self._counts: Counts[Counter] = Counts()
        self._values: defaultdict[Histogram, list[float]] = defaultdict(list)

    def count(self, series: Counter, amount: float = 1) -> None:
        self._counts[series] += amount  # type: ignore[assignment]

    def observe(self, series: Histogram, value: float) -> None:
        self._values[series].append(value)

    def observe_all(self, series: Histogram, values: list[float]) -> None:
        self._values[series] += values

    def flush(self) -> None:
        """Add everything to the metrics."""
        counts, self._counts = self._counts, Counts()
        values, self._values = self._values, defaultdict(list)
        for series, amount in counts.items():
            series.inc(amount)
        for histogram, observed in values.items():
            add_all(histogram, observed)


def add_all(series: Histogram, values: list[float]) -> None:
    """What `observe` does with each value, for all of them; the client library has no call for that."""
    for place, count in Counts(bisect_left(series._upper_bounds, value) for value in values).items():
        series._buckets[place].inc(count)
    series._sum.inc(sum(values))
