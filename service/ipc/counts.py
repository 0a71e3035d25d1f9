"""Numbers that the HTTP workers share without a lock: each writes its own row, and all read the sums of the columns.

The memory is made by gunicorn's master before it forks. What a worker has counted is forgotten when the master notices
its end. A sum may be out of date by what others count in the same microsecond.
"""

import mmap

CONNECTIONS, BYTES = 0, 1  # columns: open connections, bytes of waiting images
FIRST_MODEL = 2  # the columns from here on hold the images that wait for each model
COLUMNS = 66
ITEM_BYTES = 8


class SharedCounts:
    """
    Args:
        rows: processes that count at the same time.
    """

    def __init__(self, rows: int) -> None:
        self._numbers = memoryview(mmap.mmap(-1, rows * COLUMNS * ITEM_BYTES)).cast("q")
        self._free = list(range(rows - 1, -1, -1))
        self._rows = rows

    def claim(self) -> "Counts":
        """A row for a process that is about to be started; of more processes than were expected, several have one."""
        row = self._free.pop() if self._free else 0
        return Counts(self._numbers, row, self._rows)

    def release(self, counts: "Counts") -> None:
        """The process has ended."""
        counts.clear()
        if counts.row not in self._free:
            self._free.append(counts.row)


class Counts:
    """One process's row."""

    def __init__(self, numbers: memoryview, row: int, rows: int) -> None:
        self.row = row
        self._numbers = numbers
        self._first = row * COLUMNS
        self._rows = range(0, rows * COLUMNS, COLUMNS)

    def add(self, column: int, amount: int) -> None:
        self._numbers[self._first + column] += amount

    def own(self, column: int) -> int:
        return self._numbers[self._first + column]

    def total(self, column: int) -> int:
        """Over all processes."""
        numbers = self._numbers
        return sum([numbers[row + column] for row in self._rows])

    def clear(self) -> None:
        for column in range(COLUMNS):
            self._numbers[self._first + column] = 0


def column_of(model: int) -> int:
    """
    Args:
        model: its number in the routes; of very many models, some share a column.
    """
    return FIRST_MODEL + model % (COLUMNS - FIRST_MODEL)
