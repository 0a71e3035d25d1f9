"""Groups of images by their paths."""

import numpy as np
import pytest

from training.sources.groups import about_groups, groups_in_paths, number_groups
from training.sources.labels import BadLabels

PATHS = ["cat/p1_left.jpg", "dog/p1_right.jpg", "dog/p22_left.jpg", "dog/other.jpg"]


@pytest.mark.parametrize("pattern", ["p[0-9]+", "/(p[0-9]+)_(?:left|right)"])
def test_a_pattern_gives_its_first_group_or_all_that_it_matches(pattern: str) -> None:
    names = groups_in_paths(PATHS, pattern)
    assert names == ["p1", "p1", "p22", ""]
    np.testing.assert_array_equal(number_groups(names), [0, 0, 1, -1])
    assert about_groups(names, "the pattern p") == (
        "groups by the pattern p: 2, each on one side of the split; images of no group: 1"
    )


def test_a_pattern_that_is_found_nowhere_is_an_error_with_an_example() -> None:
    with pytest.raises(BadLabels, match=r"'q\[0-9\]', .*is found in none of their 4 paths, such as cat/p1_left\.jpg\."):
        groups_in_paths(PATHS, "q[0-9]")
