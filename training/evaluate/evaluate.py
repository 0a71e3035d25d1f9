"""What a bundle answers for a labelled folder: every image, whatever split it was in."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle.manifest import refuse_many_labels, verify
from training.evaluate.calibration import softmax
from training.evaluate.labelled import read_labelled
from training.evaluate.predictions import Predictions
from training.evaluate.saved_model import load_signatures
from training.sources.labels import BY_FOLDERS, Labels

BATCH_SIZE = 64


def evaluate(
    bundle: Path, data: str, cache: Path, console: Console, *, flips: bool = False, labels: Labels = BY_FOLDERS
) -> tuple[Predictions, dict[str, Any]]:
    """The bundle's answers; which files and folders were left out (`unreadable`), how many images it was `trained_on`,
    and `notes` about how a table was read.

    Args:
        flips: answer with the mean of the logits for each image and its mirror image, as the graph of a bundle does
            that was trained with `mirror_answers`.

    Raises:
        BrokenBundle: the bundle does not verify.
        BadData: the folder cannot be read, or has a class that the model does not know.
        NotForThisModel: an image has any number of labels.
    """
    manifest = verify(bundle)
    refuse_many_labels(manifest, "evaluate")
    labelled = read_labelled(bundle, manifest, data, cache, console, labels)
    decoded = labelled.decoded
    classify = load_signatures(bundle)["serving_default"]
    images, batches = decoded.images, range(0, len(decoded.images), BATCH_SIZE)
    probabilities = np.concatenate([classify(images[i : i + BATCH_SIZE]) for i in batches]).astype(np.float64)
    if flips:
        mirrored = (np.ascontiguousarray(images[i : i + BATCH_SIZE, :, ::-1]) for i in batches)
        probabilities = mean_of_logits(probabilities, np.concatenate([classify(batch) for batch in mirrored]))
    answers = Predictions(manifest.class_names, decoded.paths, labelled.labels, probabilities)
    return answers, {
        "unreadable": {**labelled.left_out, **decoded.unreadable},
        **labelled.seen(),
        "notes": labelled.notes,
    }


def mean_of_logits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two arrays of probabilities (N, num_classes) -> the probabilities of the mean of their logits.

    A logarithm of probabilities is the logits but for a constant of each row, which softmax does not see.
    """
    smallest = np.finfo(np.float32).tiny
    logits = (np.log(np.maximum(first, smallest)) + np.log(np.maximum(second, smallest))) / 2
    return softmax(logits)
