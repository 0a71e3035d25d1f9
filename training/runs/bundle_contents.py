"""What a bundle holds beside its network: golden images, reference statistics, and the list of its images."""

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from models.bundle.manifest import IMAGE, TESTED_ON
from models.bundle.reference import Reference, make_reference
from training.config.settings import Settings
from training.data.dataset import Data
from training.evaluate.predictions import Predictions
from training.export.int8 import Images

if TYPE_CHECKING:
    from training.fit.fit import Trained


NUM_ANSWERS = 64  # images on which export must agree
NUM_REFERENCE = 2000  # images by which later ones are found unusual, where none are held out to test
NUM_GOLDEN = 10
MAX_GOLDEN_BYTES = 1_000_000  # of one golden image; a bundle is no place for originals of 20 MB


def choose_golden(data: Data) -> list[bytes]:
    """Encoded images, of as many different classes as there is room for, each small enough to travel.

    They are test images, unless nothing was held out.
    """
    chosen: dict[int, bytes] = {}
    for row in first_not_empty(data.split.test, data.split.train):
        label = int(data.decoded.labels[row])
        if label not in chosen and len(chosen) < NUM_GOLDEN:
            chosen[label] = golden_bytes(data, row)
    return [chosen[label] for label in sorted(chosen)]


def reference_of(data: Data, trained: "Trained") -> Reference | None:
    """Statistics of the test images and the model's answers; without test images, of validation or training images."""
    rows, answers = data.split.test, trained.predictions.probabilities
    if not len(rows):
        rows = first_not_empty(data.split.val, data.split.train)[:NUM_REFERENCE]
        batches = (rows[i : i + NUM_ANSWERS] for i in range(0, len(rows), NUM_ANSWERS))
        answers = np.concatenate([trained.probabilities(np.asarray(data.decoded.images[batch])) for batch in batches])
    return make_reference(data.decoded.class_names, data.decoded.images, rows, answers) if len(rows) > 1 else None


def list_images(data: Data, predictions: Predictions) -> np.ndarray:
    """IMAGE (N,): the images on some side, and what was said of those tested on."""
    sides = (data.split.train, data.split.val, data.split.test)
    listed = np.empty(sum(map(len, sides)), IMAGE)
    rows = np.concatenate(sides)
    listed["hash"], listed["label"] = data.decoded.hashes()[rows], data.decoded.labels[rows]
    listed["side"] = np.repeat((1, 2, TESTED_ON), [len(side) for side in sides])
    listed["predicted"] = -1
    listed["predicted"][listed["side"] == TESTED_ON] = predictions.probabilities.argmax(axis=1)
    return listed


def for_int8(data: Data, settings: Settings) -> Images:
    """What the 8-bit form is calibrated on, and compared on: validation and test images.

    It is the classes in float32 and in int8 that are compared, so that the test images' labels decide nothing.
    """
    held_out = np.concatenate([data.split.val, data.split.test])
    return Images(
        data.decoded.images,
        data.split.train,
        held_out,
        data.decoded.labels[held_out],
        data.decoded.groups()[held_out],
        flip=settings.augmentation.flip,
    )


def first_not_empty(*choices: np.ndarray) -> np.ndarray:
    return next(rows for rows in choices if len(rows))


def golden_bytes(data: Data, row: int) -> bytes:
    """The image's file; where that is large, a PNG of what was decoded, which decodes to the same pixels."""
    path = data.root / data.decoded.paths[row]
    if path.stat().st_size <= MAX_GOLDEN_BYTES:
        return path.read_bytes()
    image, png = data.decoded.images[row], io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image).save(png, "PNG")
    return png.getvalue()
