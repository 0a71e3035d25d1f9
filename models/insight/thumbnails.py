"""Small copies of training images in a bundle, if that was asked for: they are somebody's photographs.

THUMBNAILS is `numpy.savez` of `labels`, int64 (M,), of `jpegs`, uint8, which are all files one after another, and of
`ends`, int64 (M,), where each of them ends. They are of the images in `Familiarity.known`, in that order.
"""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from models.bundle.manifest import BrokenBundle

THUMBNAILS = Path("assets.extra/thumbnails.npz")
SIDE = 96  # pixels at most
QUALITY = 80


class Thumbnails(NamedTuple):
    """Attributes:
    labels: int64 (M,), numbers of classes.
    jpegs: of each image.
    """

    labels: np.ndarray
    jpegs: list[bytes]


def write_thumbnails(bundle: Path, images: Iterable[np.ndarray], labels: np.ndarray) -> None:
    """
    Args:
        images: uint8 (H, W, C) each.
        labels: int64 (M,), their classes.
    """
    encoded = [small_copy(image) for image in images]
    ends = np.cumsum([len(each) for each in encoded])
    jpegs = np.frombuffer(b"".join(encoded), np.uint8)
    np.savez(bundle / THUMBNAILS, labels=labels, jpegs=jpegs, ends=ends)


def read_thumbnails(bundle: Path) -> Thumbnails | None:
    """None of a bundle that has none.

    Raises:
        BrokenBundle: the file is damaged.
    """
    try:
        with (bundle / THUMBNAILS).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            labels, content, ends = file["labels"], file["jpegs"].tobytes(), file["ends"].tolist()
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise BrokenBundle(f"{bundle / THUMBNAILS} is damaged ({error}); export again.") from None
    return Thumbnails(labels, [content[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)])


def small_copy(pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
