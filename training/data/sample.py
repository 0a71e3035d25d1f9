"""A look at some images of a folder, to choose an input that suits them."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from PIL import Image

from models.bundle.preprocessing import FORMATS

NUM_SAMPLED = 200
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B"}


def sample_images(root: Path, paths: Sequence[str]) -> tuple[int, bool]:
    """The median of the images' shorter sides in pixels, and whether none of them has colour.

    The headers of a few hundred files are read, spread over the folder; what cannot be read is passed over.
    """
    sides, modes = [], set()
    for path in paths[:: max(1, len(paths) // NUM_SAMPLED)]:
        try:
            with Image.open(root / path, formats=FORMATS) as image:
                sides.append(min(image.size))
                modes.add(image.mode)
        except Exception:  # whatever a decoder raises; decoding will name the file and the reason
            continue
    return int(median(sides or [0])), modes <= GREY_MODES
