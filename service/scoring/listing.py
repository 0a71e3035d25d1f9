"""Which files are to be classified: those below a folder, or those that a list names."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from models.errors import UserError
from models.files.folders import files_below


@dataclass(frozen=True, slots=True)
class Images:
    """What is to be classified."""

    root: Path
    names: list[str]  # paths; relative ones are below `root`

    def shards(self, size: int) -> list[list[str]]:
        return [self.names[start : start + size] for start in range(0, len(self.names), size)]

    def fingerprint(self) -> str:
        """Of where they are; not of what is in the files."""
        return hashlib.sha256(os.fsencode("\0".join([str(self.root.resolve()), *self.names]))).hexdigest()


def list_images(source: Path, output: Path) -> Images:
    """The files below a folder, sorted, or those that a list names; of an output that lies among them, nothing.

    Raises:
        UserError: there is none.
        OSError: a list or a folder cannot be read.
    """
    if not source.exists():
        raise UserError(f"There is no {source}. Give a folder of images, or a file with a path on each line.")
    if source.is_dir():
        ours = os.path.relpath(output.resolve(), source.resolve())
        below = files_below(source, source)
        names = sorted(name for name in below if name != ours and not name.startswith(f"{ours}.parts/"))
    else:
        names = read_list(source)
    if not names:
        raise UserError(f"{source} names no image. Give a folder with files in it, or a file with a path on each line.")
    return Images(source if source.is_dir() else source.parent, names)


def read_list(path: Path) -> list[str]:
    """The lines that are not empty."""
    content = path.read_bytes()
    if b"\0" in content:
        raise UserError(f"{path} is no list of paths: it has zero bytes. Give a file with a path on each line.")
    return [os.fsdecode(line) for line in content.splitlines() if line.strip()]


def parts_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")
