"""Bundles as an import makes them: real SavedModels of networks that are not Striate's, so simple that one knows the
answers: the brighter a channel of the image, the more probable is its colour.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.bundle.manifest import (
    GOLDEN,
    IMAGES,
    IMPORTED,
    EngineName,
    Manifest,
    Task,
    read_manifest,
    write_manifest,
)
from models.bundle.preprocessing import InputSpec
from tests.images import encode
from tests.processes import python

COLOURS = ("red", "green", "blue")
SPEC = InputSpec(8, 8, 3)
BOTH: tuple[EngineName, ...] = ("openvino", "tensorflow")
WRITE = """
import sys, models, tensorflow as tf  # without `models` Keras would write into the home folder

class Colours(tf.Module):
    def __init__(self, activation):
        self.activation = activation
        self.scale = tf.Variable(tf.eye(3) * 8 / 255)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.uint8, name="images")])
    def answer(self, images):
        bright = tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2))
        return {"probabilities": self.activation(bright @ self.scale - 4.0)}

for path, activation in ((sys.argv[1], tf.sigmoid), (sys.argv[2], tf.nn.softmax)):
    model = Colours(activation)
    tf.saved_model.save(model, path, signatures={"serving_default": model.answer})
"""


def write_colours(folder: Path) -> dict[Task, Path]:
    """The SavedModel of each task."""
    found: dict[Task, Path] = {"multi_label": folder / "sigmoid", "single_label": folder / "softmax"}
    python("-c", WRITE, *found.values())
    return found


def coloured(*rgb: int) -> bytes:
    """A PNG of one colour."""
    return encode(np.full((8, 8, 3), rgb, np.uint8))


def expected(*rgb: int, task: Task = "multi_label") -> list[float]:
    """The probabilities of red, green and blue."""
    logits = np.array(rgb) * 8 / 255 - 4
    shares = np.exp(logits) / np.exp(logits).sum() if task == "single_label" else 1 / (1 + np.exp(-logits))
    return [float(share) for share in shares]


def imported_bundle(
    saved_model: Path, bundle: Path, model: str, task: Task, *, engines: tuple[EngineName, ...] = BOTH
) -> Path:
    """A sealed bundle around a SavedModel of `write_colours`."""
    shutil.copytree(saved_model, bundle)
    (bundle / GOLDEN).mkdir(parents=True)
    colours = [(255, 255, 0), (0, 0, 0)]
    for i, rgb in enumerate(colours):
        (bundle / GOLDEN / str(i)).write_bytes(coloured(*rgb))
    rows = [{"file": str(i), "probabilities": expected(*rgb, task=task)} for i, rgb in enumerate(colours)]
    (bundle / GOLDEN / "probabilities.json").write_text(json.dumps(rows))
    (bundle / "assets.extra" / "report.html").write_text("<!doctype html>")
    write_manifest(bundle, Manifest(model, IMPORTED, COLOURS, SPEC, {}, task=task, engines=engines))
    return bundle


def as_imported(bundle: Path, target: Path) -> Path:
    """The copy of a trained bundle that says nothing of its training, as one that was made elsewhere."""
    shutil.copytree(bundle, target)
    (target / IMAGES).unlink()
    manifest = read_manifest(target)
    write_manifest(target, replace(manifest, architecture=IMPORTED, lineage={}, reference=None, metrics={}))
    return target
