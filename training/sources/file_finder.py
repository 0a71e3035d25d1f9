"""Which file of a folder a table means by what it says: a path, a name, or a name without its extension."""

import posixpath
import re
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath

from models.bundle.class_names import nfc
from training.sources.labels import BadLabels

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class OutsideFolder(BadLabels):
    """A table names a file that does not lie in the folder of the images."""


class FileFinder:
    """The files of a folder by what a table may call them. Names are compared in NFC."""

    def __init__(self, root: Path, paths: Iterable[str], suffixes: Container[str]) -> None:
        """
        Args:
            root: absolute.
            paths: of all files, relative to it.
            suffixes: of images, in lower case; where a name may mean several files, others are not meant.
        """
        self._suffixes = suffixes
        self._root = root
        self._paths = {nfc(path): path for path in paths}
        self._others: dict[str, list[str]] = {}  # by what else a file may be called

    @property
    def paths(self) -> Iterable[str]:
        """All files, in the order in which they were given."""
        return self._paths.values()

    def find(self, said: str, base: Path) -> list[str]:
        """The files that are meant: one; none; or several, where it is a name that several have.

        Args:
            said: a path relative to `base`, or an absolute one, with slashes of either kind; a file's name, wherever
                it lies; either of them without the extension.

        Raises:
            OutsideFolder: it is a URL, or leads out of the folder.
        """
        as_written = self._paths.get(nfc(said))
        if as_written is not None and base == self._root:
            return [as_written]
        relative = nfc(self._relative(said, base))
        if relative in self._paths:
            return [self._paths[relative]]
        if not self._others:
            self._others = other_names(self._paths)
        meant = self._others.get(relative, [])
        images = [path for path in meant if PurePosixPath(path).suffix.lower() in self._suffixes]
        return images if len(meant) > 1 and images else meant

    def names_a_file(self, said: str, bases: Iterable[Path]) -> bool:
        """Whether it means a file, seen from one of these folders."""
        for base in bases:
            try:
                if said and self.find(said, base):
                    return True
            except OutsideFolder:
                continue
        return False

    def _relative(self, said: str, base: Path) -> str:
        if URL.match(said):
            raise OutsideFolder(f"The table names {said}. Addresses are not read: download the images first.")
        path = said if DRIVE.match(said) else said.replace("\\", "/")
        path = posixpath.normpath(posixpath.join(str(base), path))
        if said.startswith("/") and "\0" not in said and not path.startswith(f"{self._root}/"):
            path = str(Path(path).resolve())  # another way to the same folder, over a link
        if DRIVE.match(said) or not path.startswith(f"{self._root}/"):
            raise OutsideFolder(
                f"The table names {said}, which does not lie in the folder of the images {self._root}. Give --data a "
                "folder that all images lie in, and paths relative to it."
            )
        return path[len(str(self._root)) + 1 :]


def other_names(paths: dict[str, str]) -> dict[str, list[str]]:
    """{path without extension, name, or name without extension: the files that it may mean}"""
    found: dict[str, list[str]] = {}
    for normalised, path in paths.items():
        folder, slash, name = normalised.rpartition("/")  # by hand, since pathlib takes ten times as long
        stem = name.rpartition(".")[0] or name
        for other in {folder + slash + stem, name, stem}:
            found.setdefault(other, []).append(path)
    return found
