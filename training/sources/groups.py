"""Groups of images that have to be on one side of a split: of one patient, camera or day."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from training.sources.labels import BadLabels

NO_GROUP = -1


def number_groups(names: Iterable[str]) -> np.ndarray:
    """The same number for the same name, from 0, and NO_GROUP for an empty one: int32 (N,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) if name else NO_GROUP for name in names], np.int32)


def groups_in_paths(paths: Sequence[str], pattern: str) -> list[str]:
    """What a regular expression finds in each path: its first capturing group, or all that it matches; "" for nothing.

    Raises:
        BadLabels: it is found in no path.
    """
    compiled = re.compile(pattern)
    matches = [compiled.search(path) for path in paths]
    found = [(match[1 if compiled.groups else 0] or "") if match else "" for match in matches]
    if not any(found):
        raise BadLabels(
            f"{pattern!r}, by which to group images, is found in none of their {len(paths):,} paths, such as "
            f"{paths[0] if paths else ''}. Give a regular expression that matches a part of the path, such as "
            "'(patient[0-9]+)'."
        )
    return found


def about_groups(names: Sequence[str], by: str) -> str:
    """A sentence with the number of groups."""
    alone = sum(not name for name in names)
    rest = f"; images of no group: {alone:,}" if alone else ""
    return f"groups by {by}: {len({name for name in names if name}):,}, each on one side of the split{rest}"
