"""What a bundle answers for a labelled folder: every image, whatever split it was in."""

from pathlib import Path

import numpy as np
from rich.console import Console

from models.bundle import verify
from training.index import BadData, index_folder
from training.predictions import Predictions
from training.run import decode_folder, resolve
from training.saved_model import load_signatures

BATCH_SIZE = 64


def evaluate(
    bundle: Path, data: str, cache: Path, console: Console, *, flips: bool = False
) -> tuple[Predictions, dict[str, str]]:
    """The bundle's answers, and {path: reason} of what was left out.

    Args:
        flips: answer for each image and its mirror image, and take the mean; a service that asks once does worse.

    Raises:
        BrokenBundle: the bundle does not verify.
        BadData: the folder cannot be read, or has a class that the model does not know.
    """
    manifest = verify(bundle)
    index = index_folder(resolve(data, cache))
    unknown = set(index.class_names) - set(manifest.class_names)
    if unknown:
        raise BadData(
            f"The model has no class {sorted(unknown)[0]!r}; it knows {', '.join(manifest.class_names[:20])}."
        )
    decoded = decode_folder(index, manifest.input_spec, cache, console)
    classify = load_signatures(bundle)["serving_default"]
    images, batches = decoded.images, range(0, len(decoded.images), BATCH_SIZE)
    probabilities = np.concatenate([classify(images[i : i + BATCH_SIZE]) for i in batches]).astype(np.float64)
    if flips:
        mirrored = (np.ascontiguousarray(images[i : i + BATCH_SIZE, :, ::-1]) for i in batches)
        probabilities = (probabilities + np.concatenate([classify(batch) for batch in mirrored])) / 2
    positions = np.array([manifest.class_names.index(name) for name in index.class_names])
    return Predictions(manifest.class_names, decoded.paths, positions[decoded.labels], probabilities), {
        **index.left_out,
        **decoded.unreadable,
    }
