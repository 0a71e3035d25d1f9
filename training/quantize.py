"""A bundle that also computes in 8-bit integers: the network calibrated on training images, and compared on others.

NNCF finds the ranges of all activations and puts the roundings into OpenVINO's form of the network, which lies in the
bundle beside the SavedModel. The service's OpenVINO engine takes it where it is there; others have the SavedModel.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle import INT8, Manifest, read_golden, verify, write_manifest
from models.errors import Failed
from models.exports import copy_tree
from models.preprocessing import decode_image
from training.index import BadData
from training.run import Data

NUM_CALIBRATION = 300  # images; NNCF's own default, and more change little
BATCH_SIZE = 32


class LosesTooMuch(Failed):
    """The 8-bit network is worse than was allowed; there is no bundle."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """How right the network was on the validation split, in float32 and in 8 bits."""

    num_images: int
    float32: float
    int8: float

    def __str__(self) -> str:
        return f"{self.int8:.2%} of {self.num_images:,} validation images in int8, {self.float32:.2%} in float32"


def quantize(bundle: Path, data: Data, target: Path, *, max_drop: float, console: Console) -> Quantized:
    """Write the bundle once more to `target`, with its network in 8 bits beside the SavedModel.

    Args:
        data: of the model's classes, decoded as it wants them; the training split calibrates, validation compares.
        max_drop: largest loss of accuracy that is allowed, as a fraction of the images.

    Raises:
        BrokenBundle: the bundle does not verify.
        BadData: the images have other classes, or none is held out for validation.
        LosesTooMuch: the accuracy falls by more than `max_drop`.
    """
    manifest = verify(bundle)
    labels = labels_of(data, manifest)
    if not len(data.split.val):
        raise BadData("Nothing is held out for validation, so nobody could say what 8 bits cost; use --split 80/10/10.")
    import nncf
    import openvino

    core = openvino.Core()
    network = core.read_model(bundle)
    chosen = data.split.train[:: max(1, len(data.split.train) // NUM_CALIBRATION)][:NUM_CALIBRATION]
    console.print(f"calibrating on {len(chosen)} training images", highlight=False)
    images = nncf.Dataset([data.decoded.images[row][None] for row in chosen])
    quantized = nncf.quantize(network, images, subset_size=len(chosen))

    def accuracy(model: Any, hint: str) -> float:
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
        batches = range(0, len(data.split.val), BATCH_SIZE)
        rows = (data.split.val[i : i + BATCH_SIZE] for i in batches)
        right = sum(int((compiled(data.decoded.images[r])[0].argmax(1) == labels[r]).sum()) for r in rows)
        return right / len(data.split.val)

    found = Quantized(len(data.split.val), accuracy(network, "f32"), accuracy(quantized, "f32"))
    if found.float32 - found.int8 > max_drop:
        raise LosesTooMuch(
            f"Right on {found}: that is {found.float32 - found.int8:.2%} less, and --max-drop allows {max_drop:.2%}."
        )
    target.mkdir(parents=True)
    copy_tree(bundle, target)
    (target / INT8).mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantized, target / INT8 / "model.xml", compress_to_fp16=False)
    answers = core.compile_model(quantized, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    golden = [decode_image(encoded, manifest.input_spec) for encoded, _ in read_golden(bundle)]
    rows = [answers(image[None])[0][0].tolist() for image in golden]
    (target / INT8 / "probabilities.json").write_text(json.dumps(rows))
    metrics = {**manifest.metrics, "int8": {"num_images": found.num_images, "accuracy": found.int8}}
    write_manifest(target, replace(manifest, metrics=metrics))
    return found


def labels_of(data: Data, manifest: Manifest) -> np.ndarray:
    """int64 (N,), as the model numbers its classes.

    Raises:
        BadData: there is a class that it does not know.
    """
    names = data.decoded.class_names
    unknown = set(names) - set(manifest.class_names)
    if unknown:
        raise BadData(f"The model has no class {min(unknown)!r}; it knows {', '.join(manifest.class_names[:20])}.")
    return np.array([manifest.class_names.index(name) for name in names])[data.decoded.labels]
