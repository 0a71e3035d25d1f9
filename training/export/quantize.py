"""A bundle that also computes in 8-bit integers: the network calibrated on training images, and compared on others.

Which images those are the bundle itself says.

NNCF finds the ranges of all activations and puts the roundings into OpenVINO's form of the network, which lies in the
bundle beside the SavedModel. The service's OpenVINO engine takes it where it is there; others have the SavedModel.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle.manifest import INT8, TRAINED_ON, VALIDATED_ON, read_golden, verify, write_manifest
from models.bundle.preprocessing import decode_image
from models.errors import Failed
from models.store.publish import copy_tree
from training.data.index import BadData
from training.evaluate.labelled import Labelled

NUM_CALIBRATION = 300  # images; NNCF's own default, and more change little
BATCH_SIZE = 32


class AccuracyLossTooLarge(Failed):
    """The 8-bit network is worse than was allowed; there is no bundle."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """How right the network was on the validation images, in float32 and in 8 bits."""

    num_images: int
    float32: float
    int8: float

    def __str__(self) -> str:
        return f"{self.int8:.2%} of {self.num_images:,} validation images in int8, {self.float32:.2%} in float32"


def quantize(bundle: Path, labelled: Labelled, target: Path, *, max_drop: float, console: Console) -> Quantized:
    """Write the bundle once more to `target`, with its network in 8 bits beside the SavedModel.

    Args:
        labelled: of the same bundle; images that it was trained on calibrate.
        max_drop: largest loss of accuracy that is allowed, as a fraction of the images.

    Raises:
        BrokenBundle: the bundle does not verify.
        BadData: there is nothing to calibrate on, or to compare on.
        AccuracyLossTooLarge: the accuracy falls by more than `max_drop`.
    """
    manifest = verify(bundle)
    trained_on, held_out = rows_to_use(bundle, labelled)
    import nncf
    import openvino

    core = openvino.Core()
    network = core.read_model(bundle)
    chosen = trained_on[:: max(1, len(trained_on) // NUM_CALIBRATION)][:NUM_CALIBRATION]
    console.print(f"calibrating on {len(chosen)} training images", highlight=False)
    images = nncf.Dataset([labelled.decoded.images[row][None] for row in chosen])
    quantized = nncf.quantize(network, images, subset_size=len(chosen))

    def accuracy(model: Any, hint: str) -> float:
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
        batches = (held_out[i : i + BATCH_SIZE] for i in range(0, len(held_out), BATCH_SIZE))
        answers = ((compiled(labelled.decoded.images[rows])[0].argmax(1), labelled.labels[rows]) for rows in batches)
        return sum(int((said == true).sum()) for said, true in answers) / len(held_out)

    found = Quantized(len(held_out), accuracy(network, "f32"), accuracy(quantized, "f32"))
    if found.float32 - found.int8 > max_drop:
        raise AccuracyLossTooLarge(
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


def rows_to_use(bundle: Path, labelled: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Rows to calibrate on, which were trained on, and rows to compare on.

    These are validation images and images that the bundle does not list. Test images, and near duplicates of images
    that it or an ancestor was trained on, are left out.
    """
    if not labelled.has_image_list:
        raise BadData(
            f"{bundle} does not say which images it was trained on, as bundles of older versions of Striate do not. "
            "Nobody could calibrate and compare it on different ones; train and export it again."
        )
    trained_on = np.flatnonzero(labelled.sides == TRAINED_ON)
    held_out = np.flatnonzero(np.isin(labelled.sides, (0, VALIDATED_ON)) & ~labelled.near)
    if not len(trained_on):
        raise BadData("The model was trained on none of these images; give the folder that it was trained on.")
    if not len(held_out):
        raise BadData(
            "The model was trained or tested on all of these images, so nobody could say what 8 bits cost. Train it "
            "with images held out to validate, as by --split 80/10/10, or add labelled images that it does not know."
        )
    return trained_on, held_out
