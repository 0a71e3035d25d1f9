"""How good is a bundle on a labelled folder? Every image counts, whatever split it was in."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle import verify
from training.index import BadData, index_folder
from training.metrics import measure
from training.run import decode_folder, resolve
from training.saved_model import load_signatures

BATCH_SIZE = 64


def evaluate(bundle: Path, data: str, cache: Path, console: Console) -> dict[str, Any]:
    """`training.metrics.measure` of the bundle's answers, and which files were unreadable.

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
    starts = range(0, len(decoded.images), BATCH_SIZE)
    probabilities = np.concatenate([classify(decoded.images[i : i + BATCH_SIZE]) for i in starts])
    positions = np.array([manifest.class_names.index(name) for name in index.class_names])
    metrics = measure(probabilities, positions[decoded.labels], manifest.class_names)
    return {**metrics, "unreadable": decoded.unreadable}
