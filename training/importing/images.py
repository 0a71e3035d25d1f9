"""A few labelled images, copied to where a confined process may read them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.bundle.preprocessing import BadImage, InputSpec, decode_image
from models.errors import UserError
from training.data.index import index_folder

MOST = 60  # images that are asked about; more take longer and tell no more
SPEC = InputSpec(64, 64, 3, "squash")  # what an image is decoded to, to see whether it is one


@dataclass(frozen=True, slots=True)
class Images:
    """
    Attributes:
        files: names in `folder`.
        folders: that each one came from, which name classes.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    folder: Path = Path()

    def read(self) -> Iterator[bytes]:
        return ((self.folder / name).read_bytes() for name in self.files)

    def one_of_each(self, most: int) -> list[bytes]:
        """The first image of each class, of as many classes."""
        first = dict(zip(reversed(self.folders), reversed(self.files), strict=True))
        return [(self.folder / first[name]).read_bytes() for name in sorted(first)[:most]]


NO_IMAGES = Images((), ())


def find_labelled(root: Path, target: Path) -> Images:
    """MOST images of a folder with a folder for each class, as many of each class as there are; copied to `target`.

    Raises:
        BadData: the folder has no classes.
        UserError: no file in it is an image.
    """
    index = index_folder(root)
    target.mkdir(parents=True)
    files: list[str] = []
    folders: list[str] = []
    for row in in_turns(index.labels):
        if len(files) == MOST:
            break
        data = (index.root / index.paths[row]).read_bytes()
        try:
            decode_image(data, SPEC)
        except BadImage:
            continue
        (target / str(len(files))).write_bytes(data)
        files.append(str(len(files)))
        folders.append(index.class_names[index.labels[row]])
    if not files:
        raise UserError(
            f"No file in {root} is an image that can be read; it needs a folder with images for each class."
        )
    return Images(tuple(files), tuple(folders), target)


def in_turns(labels: np.ndarray) -> list[int]:
    """Rows in an order that takes one of each class after the other, each class's in an order by chance."""
    generator = np.random.default_rng(0)
    turns = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        turns[generator.permutation(rows)] = np.arange(len(rows))
    return [int(row) for row in np.argsort(turns, kind="stable")]
