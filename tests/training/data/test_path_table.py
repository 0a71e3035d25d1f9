"""Very many paths in little memory, whatever the files are called."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from training.data.path_table import Paths

NAMES = ["cat/1.jpg", "cat/new\nline.jpg", "dog/größe 猫.png", os.fsdecode(b"dog/\xff.jpg"), "dog/"]


def test_paths_come_back_as_they_were() -> None:
    paths = Paths.of(NAMES)
    assert list(paths) == NAMES
    assert paths[1:4:2] == NAMES[1:4:2]
    assert paths[-1] == NAMES[-1]
    assert paths[np.int64(2)] == NAMES[2]
    with pytest.raises(IndexError):
        paths[5]


def test_they_can_be_saved_and_mapped(tmp_path: Path) -> None:
    Paths.of(NAMES).save(tmp_path)
    assert list(Paths.load(tmp_path)) == NAMES


def test_several_make_one() -> None:
    assert list(Paths.joined([Paths.of(NAMES[:2]), Paths.of([]), Paths.of(NAMES[2:])])) == NAMES


def test_a_path_takes_its_length_and_little_more() -> None:
    count = 50_000
    tracemalloc.start()
    paths = Paths.of(f"some class/{i:08}.jpg" for i in range(count))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(paths) == count
    assert held < 45 * count  # 23 characters, 8 bytes, and what lists keep in reserve
