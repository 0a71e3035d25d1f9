"""A bundle that also computes in 8-bit integers: the network calibrated on training images, and compared on others.

Which images those are the bundle itself says. An imported one cannot: a part of the images given calibrates it.

NNCF finds the ranges of all activations and puts the roundings into OpenVINO's form of the network, which lies in the
bundle beside the SavedModel. The service's OpenVINO engine takes it where it is there; others have the SavedModel.
If int8 changes the class of too many images, the first layers and the last one stay in higher precision.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle.manifest import (
    IMPORTED,
    INT8,
    TRAINED_ON,
    VALIDATED_ON,
    Manifest,
    NotForThisModel,
    read_golden,
    refuse_many_labels,
    verify,
    write_manifest,
)
from models.bundle.preprocessing import decode_image
from models.errors import Failed
from models.store.publish import copy_tree
from training.augment.pipeline import augment
from training.config.augmentation import Augmentation
from training.data.decoded import DecodedImages
from training.data.index import BadData
from training.evaluate.labelled import Labelled

NUM_CALIBRATION = 300  # images; NNCF's own default, and more change little
BATCH_SIZE = 32
NUM_COMPARED = 2_000  # images, at least, whose classes are compared: those held out, and changed copies of them
CHANGES = Augmentation(flip=False, shift=0.0, min_area=0.7, contrast=0.2, brightness=0.1, saturation=0.2)
ENOUGH = 0.99  # share of them with the same class as in float32; below it, more layers stay in higher precision
FIRST_KEPT = (0, 6, 12, 24)  # number of first layers in higher precision, tried in turn; if not 0, the last one, too
LAYERS = ("Convolution", "GroupConvolution", "MatMul")  # OpenVINO's names of what has weights


class AccuracyLossTooLarge(Failed):
    """The 8-bit network is worse than was allowed; there is no bundle."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """What 8 bits cost.

    Attributes:
        num_images: held-out images, on which the network is right as often as `float32` and `int8` say.
        num_compared: those and changed copies of them, of which `agreement` have the same class in both.
        first_kept: layers that stay in higher precision, from the first on; if there are any, the last one, too.
        num_layers: that have weights.
    """

    num_images: int
    float32: float
    int8: float
    num_compared: int
    agreement: float
    first_kept: int
    num_layers: int

    def __str__(self) -> str:
        return f"{self.int8:.2%} of {self.num_images:,} held-out images in int8, {self.float32:.2%} in float32"

    @property
    def about_classes(self) -> str:
        kept = f"; the first {self.first_kept} of {self.num_layers} layers and the last layer stay in higher precision"
        return (
            f"int8 gives the same class as float32 for {self.agreement:.2%} of {self.num_compared:,} images (held-out"
            f" ones and augmented copies){kept if self.first_kept else ''}"
        )


def quantize(
    bundle: Path,
    labelled: Labelled,
    target: Path,
    *,
    max_drop: float,
    console: Console,
    num_compared: int = NUM_COMPARED,
    first_kept: Sequence[int] = FIRST_KEPT,
) -> Quantized:
    """Write the bundle once more to `target`, with its network in 8 bits beside the SavedModel.

    Args:
        labelled: of the same bundle; images that it was trained on calibrate, or, if it was imported, some of all.
        max_drop: largest loss of accuracy that is allowed, as a fraction of the images.
        num_compared: images, at least, whose classes are compared.
        first_kept: numbers of first layers that may stay in higher precision, tried in turn.

    Raises:
        BrokenBundle: the bundle does not verify.
        BadData: there is nothing to calibrate on, or to compare on.
        NotForThisModel: an image has any number of labels, or OpenVINO does not compute it.
        AccuracyLossTooLarge: the accuracy falls by more than `max_drop`.
    """
    manifest = verify(bundle)
    check_kind(manifest)
    imported = manifest.architecture == IMPORTED
    calibrating, held_out = rows_of_any(labelled.decoded) if imported else rows_to_use(bundle, labelled)
    import openvino

    core = openvino.Core()
    network = core.read_model(bundle)
    chosen = calibrating[:: max(1, len(calibrating) // NUM_CALIBRATION)][:NUM_CALIBRATION]
    which = f"of {len(labelled.labels):,} images" if imported else "training images"
    console.print(f"calibrating on {len(chosen)} {which}", highlight=False)
    views = partial(views_of, labelled.decoded.images, held_out, num_compared, flip=was_flipped(manifest))
    quantized, found = best_of_precisions(core, network, labelled, chosen, held_out, views, first_kept)
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
    about = {
        "num_images": found.num_images,
        "accuracy": found.int8,
        "num_compared": found.num_compared,
        "agreement": found.agreement,
        "first_layers_kept": found.first_kept,
    }
    write_manifest(target, replace(manifest, metrics={**manifest.metrics, "int8": about}))
    return found


def check_kind(manifest: Manifest) -> None:
    """
    Raises:
        NotForThisModel: an image has any number of labels, or OpenVINO does not compute it.
    """
    refuse_many_labels(manifest, "quantize")
    if "openvino" not in manifest.engines:
        raise NotForThisModel(f"8 bits are for OpenVINO, which does not compute {manifest.model}.")


def best_of_precisions(
    core: Any,
    network: Any,
    labelled: Labelled,
    chosen: np.ndarray,
    held_out: np.ndarray,
    views: Callable[[], Iterator[np.ndarray]],
    first_kept: Sequence[int],
) -> tuple[Any, Quantized]:
    """The first of the networks in 8 bits that agrees with float32 on enough images, or that which agrees on most.

    What stays in higher precision is computed in the one that the service would take here.

    Args:
        chosen: rows to calibrate on.
        held_out: rows to compare on.
        views: batches of these, and then of changed copies of them.
        first_kept: numbers of first layers that may stay in higher precision, tried in turn.
    """
    import nncf

    nncf.set_log_level(logging.WARNING)  # it would list each layer that is left out
    images = nncf.Dataset([labelled.decoded.images[row][None] for row in chosen])
    layers = [node.get_friendly_name() for node in network.get_ordered_ops() if node.get_type_name() in LAYERS]
    rest = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    labels = labelled.labels[held_out]

    def classes(model: Any, precision: str) -> np.ndarray:
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        return np.concatenate([compiled(batch)[0].argmax(axis=1) for batch in views()])

    exact = classes(network, "f32")
    tried: list[tuple[Any, Quantized]] = []
    for num_kept in (count for count in first_kept if count < len(layers)):
        kept = nncf.IgnoredScope(names=[*layers[:num_kept], layers[-1]] if num_kept else [])
        quantized = nncf.quantize(network, images, subset_size=len(chosen), ignored_scope=kept)
        said = classes(quantized, rest)
        found = Quantized(
            num_images=len(labels),
            float32=float((exact[: len(labels)] == labels).mean()),
            int8=float((said[: len(labels)] == labels).mean()),
            num_compared=len(exact),
            agreement=float((said == exact).mean()),
            first_kept=num_kept,
            num_layers=len(layers),
        )
        tried.append((quantized, found))
        if found.agreement >= ENOUGH:
            break
    return max(tried, key=lambda pair: pair[1].agreement)


def views_of(images: np.ndarray, rows: np.ndarray, num_compared: int, *, flip: bool) -> Iterator[np.ndarray]:
    """Batches uint8 (B, H, W, C): the images [rows], then changed copies of them until there are enough."""
    changes = replace(CHANGES, flip=flip)
    for epoch in range(max(1, math.ceil(num_compared / len(rows)))):
        for start in range(0, len(rows), BATCH_SIZE):
            part = rows[start : start + BATCH_SIZE]
            batch = np.asarray(images[part])
            yield augment(batch, part, seed=0, epoch=epoch, augmentation=changes) if epoch else batch


def was_flipped(manifest: Manifest) -> bool:
    """Whether the model was trained on mirror images; if not, they are no fair test (a mirrored digit is no digit)."""
    augmentation = manifest.lineage.get("settings", {}).get("augmentation", {})
    return bool(augmentation.get("flip", False))


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


def rows_of_any(decoded: DecodedImages) -> tuple[np.ndarray, np.ndarray]:
    """Rows to calibrate an imported model on, at most half of them, and the others, to compare it on.

    Nobody knows which of them it was trained on. Near duplicates are on one side; on which, their content decides.

    Raises:
        BadData: there are no two images that differ.
    """
    groups = decoded.groups()
    firsts = np.unique(groups)
    if len(firsts) < 2:
        raise BadData(
            "There are no two images that differ: one part calibrates the 8-bit network, the other judges it."
        )
    by_content = firsts[np.argsort(decoded.hashes()[firsts])]
    calibrating = np.isin(groups, by_content[: min(NUM_CALIBRATION, len(firsts) // 2)])
    return np.flatnonzero(calibrating), np.flatnonzero(~calibrating)
