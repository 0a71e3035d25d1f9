"""The 8-bit form of an imported model, where somebody gave enough labelled images to judge it by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import Manifest
from training.config.settings import Int8
from training.data.decoded import decode_all
from training.data.index import BadData, index_folder
from training.export.int8 import FEWEST_HELD_OUT, NUM_CALIBRATION, Images, make_faithful_form
from training.export.quantize import rows_of_any

CACHE = "int8-images"  # a folder of the run, for as long as the form is made


def add_int8(
    bundle: Path, manifest: Manifest, root: Path | None, asked: Int8, say: Callable[[str], None]
) -> dict[str, Any]:
    """Put the 8-bit form into a bundle that is not sealed yet, if it is faithful to float32; returns its metrics.

    Nobody knows which of the images the model was trained on, so that its accuracy on them may be too good. What
    decides is whether float32 and int8 say the same.

    Args:
        root: the folder with a folder of images for each class; None where there is none.
    """
    fewest = NUM_CALIBRATION + FEWEST_HELD_OUT if asked == "auto" else 2
    if asked == "off" or root is None or manifest.task == "multi_label" or "openvino" not in manifest.engines:
        return {}
    index = index_folder(root)
    if len(index.paths) < fewest:
        say(f"no 8-bit form: --images has {len(index.paths):,} images, and making it by itself takes {fewest} or more")
        return {}
    decoded = decode_all(index, manifest.input_spec, bundle.with_name(CACHE), however_few=True)
    try:
        calibrating, held_out = rows_of_any(decoded)
    except BadData as error:
        say(f"no 8-bit form: {error}")
        return {}
    places = {name: i for i, name in enumerate(manifest.class_names)}
    labels = np.array([places.get(name, -1) for name in index.class_names])[decoded.labels[held_out]]
    groups = decoded.groups()[held_out]
    images = Images(decoded.images, calibrating, held_out, labels, groups, flip=False)
    metrics = make_faithful_form(bundle, manifest, images, asked, say)
    if metrics and (labels < 0).any():
        del metrics["int8"]["accuracy"]  # the folders are not named as the classes are
    return metrics
