"""Named data sets, written out as folders of PNG files, so that everything after this sees only folders."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.data.index import BadData

log = logging.getLogger(__name__)

Split = tuple[np.ndarray, np.ndarray]  # uint8 images (N, H, W) or (N, H, W, 3), integer labels (N,)

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION = (*("t-shirt", "trouser", "pullover", "dress", "coat"), *("sandal", "shirt", "sneaker", "bag", "ankle boot"))
CIFAR100 = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy"),
    *("bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee"),
    *("clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant"),
    *("flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower"),
    *("leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom"),
    *("oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate"),
    *("poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark"),
    *("shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower"),
    *("sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip"),
    *("turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm"),
)


@dataclass(frozen=True, slots=True)
class NamedDataSet:
    """A data set that needs no folder of the user's.

    Attributes:
        load: the images by split; "" where the set has no split of its own. What it downloads goes into the folder
            that it is given.
        mirrors: whether a mirrored image still belongs to its class.
        drawing: how a drawing becomes an image like these; the page follows it. `height` and `width` is the box
            in pixels of a `grid` into which the ink is stretched (`keep_aspect`: scaled), `centre` says by what
            it is then centred, and blocks of `block` x `block` pixels are averaged; a `hint` is shown to who draws.
    """

    class_names: tuple[str, ...]
    load: Callable[[Path], dict[str, Split]]
    mirrors: bool = True
    drawing: dict[str, Any] | None = None


def load_digits(_: Path) -> dict[str, Split]:
    """1,797 digits of 43 writers, 8x8 pixels (Alpaydin and Kaynak, 1998, https://doi.org/10.24432/C50P49)."""
    from sklearn import datasets

    digits = datasets.load_digits()
    return {"": ((digits.images * 255 / 16).round().astype(np.uint8), digits.target)}


def keras_loader(name: str) -> Callable[[Path], dict[str, Split]]:
    def load(downloads: Path) -> dict[str, Split]:
        import keras

        try:
            with keras_downloads_into(downloads):
                train, test = getattr(keras.datasets, name).load_data()
        except Exception as error:
            if type(error) is not Exception and not isinstance(error, ConnectionError | HTTPException | TimeoutError):
                raise  # Keras raises a plain Exception where it cannot download
            raise BadData(
                f"The data set {name} could not be downloaded ({error}). Try again with a connection, or give "
                "--data a folder that has a folder of images for each class, or digits, which needs no download."
            ) from error
        return {"train": train, "test": test}

    return load


@contextlib.contextmanager
def keras_downloads_into(folder: Path) -> Iterator[None]:
    """Have Keras download into this folder, unless it has downloaded into one of its own before.

    `load_data` takes no folder; the one that Keras keeps in mind is replaced.
    """
    from keras.src.backend import config

    before = config._KERAS_DIR
    homes = (Path(before), Path(os.path.expanduser("~/.keras")))  # noqa: PTH111 - pathlib raises without a home
    folder.mkdir(parents=True, exist_ok=True)  # Keras would use /tmp instead of a missing one
    config._KERAS_DIR = str(next((home for home in homes if (home / "datasets").is_dir()), folder))
    try:
        yield
    finally:
        config._KERAS_DIR = before


MNIST_DRAWING = {"grid": 28, "block": 1, "height": 20, "width": 20, "keep_aspect": True, "centre": "mass"}
DIGITS_DRAWING = {
    **{"grid": 32, "block": 4, "height": 32, "width": 20, "keep_aspect": False, "centre": "box"},
    "hint": "In this data set, sevens are crossed, and the stem of a 4 begins below the tip of its arm.",
}

DATA_SETS = {
    "digits": NamedDataSet(DIGITS, load_digits, mirrors=False, drawing=DIGITS_DRAWING),
    "mnist": NamedDataSet(DIGITS, keras_loader("mnist"), mirrors=False, drawing=MNIST_DRAWING),
    "fashion_mnist": NamedDataSet(FASHION, keras_loader("fashion_mnist")),
    "cifar10": NamedDataSet(CIFAR10, keras_loader("cifar10")),
    "cifar100": NamedDataSet(CIFAR100, keras_loader("cifar100")),
}


def folder_of(name: str, cache: Path) -> Path:
    """The folder of a named data set, written on first use: `<cache>/datasets/<name>/[train|test/]<class>/*.png`.

    Raises:
        BadData: it could not be downloaded.
    """
    folder = cache / "datasets" / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        data_set = DATA_SETS[name]
        staging = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        try:
            for split, (images, labels) in data_set.load(cache / "downloads").items():
                write_images(staging / split, images, labels.ravel(), data_set.class_names)
            move_into_place(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def write_images(root: Path, images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> None:
    for name in class_names:
        (root / name).mkdir(parents=True, exist_ok=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(root / class_names[label] / f"{i:05}.png")


def move_into_place(staging: Path, target: Path) -> None:
    """Put a finished directory in its place, unless another process has just put the same there."""
    try:
        staging.rename(target)
    except OSError:
        if not target.is_dir():
            raise
