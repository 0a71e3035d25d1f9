"""Small sets of real images that packages carry, as folders of classes.

python -m benchmarks.small_sets digits FOLDER      1,797 scanned digits of 8x8 pixels (scikit-learn)
python -m benchmarks.small_sets faces FOLDER       100 faces and 100 other pieces of photographs, 25x25 (scikit-image)
"""

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image

Images = tuple[np.ndarray, list[str]]  # uint8 (N, H, W), the name of each one's class


def digits() -> Images:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 255 / 16).astype(np.uint8), [str(digit) for digit in found.target]


def faces() -> Images:
    from skimage.data import lfw_subset  # not among our requirements: pip install scikit-image

    images = (255 * lfw_subset()).clip(0, 255).astype(np.uint8)
    return images, ["face"] * 100 + ["other"] * 100


SETS: dict[str, Callable[[], Images]] = {"digits": digits, "faces": faces}


@click.command()
@click.argument("name", type=click.Choice(list(SETS)))
@click.argument("folder", type=click.Path(path_type=Path))
def main(name: str, folder: Path) -> None:
    """Write the set NAME to FOLDER."""
    for number, (image, label) in enumerate(zip(*SETS[name](), strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{number:04}.png")


if __name__ == "__main__":
    main()
