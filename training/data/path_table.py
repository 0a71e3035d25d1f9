"""The paths of very many files in one block of bytes: their length and 8 bytes each, where a Path takes 400."""

import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np

from models.files.durable import write_array


class Paths(Sequence[str]):
    """Paths relative to some root, in order; any name that a file can have, as `os.fsdecode` gives it."""

    def __init__(self, block: np.ndarray, ends: np.ndarray) -> None:
        """uint8 (bytes,), one path after the other without anything between them, and int64 (N,), where each ends."""
        self._block = block
        self._ends = ends

    @classmethod
    def of(cls, paths: Iterable[str]) -> "Paths":
        block, ends = bytearray(), array("q")
        for path in paths:
            block += os.fsencode(path)
            ends.append(len(block))
        return cls(np.frombuffer(block, np.uint8), np.frombuffer(ends, np.int64))

    @classmethod
    def joined(cls, several: list["Paths"]) -> "Paths":
        """All in a row."""
        starts = np.cumsum([0, *(len(paths._block) for paths in several[:-1])])
        ends = [paths._ends + start for paths, start in zip(several, starts, strict=True)]
        return cls(np.concatenate([paths._block for paths in several]), np.concatenate(ends))

    @classmethod
    def load(cls, folder: Path) -> "Paths":
        """What `save` wrote, mapped into memory."""
        ends = np.load(folder / "path_ends.npy", mmap_mode="r")
        return cls(np.load(folder / "paths.npy", mmap_mode="r"), ends)

    def save(self, folder: Path) -> None:
        write_array(folder / "paths.npy", self._block)
        write_array(folder / "path_ends.npy", self._ends)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, i: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: SupportsIndex | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        row = range(len(self))[i]
        start = self._ends[row - 1] if row else 0
        return os.fsdecode(self._block[start : self._ends[row]].tobytes())
