"""A bundle that also computes in 8-bit integers, made after training and because somebody asks for it.

The network is calibrated on images that it was trained on, and compared on others. Which images those are the bundle
itself says. An imported one cannot: a part of the images given calibrates it.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from models.bundle.manifest import (
    IMPORTED,
    INT8,
    TRAINED_ON,
    VALIDATED_ON,
    Manifest,
    NotForThisModel,
    refuse_many_labels,
    verify,
    write_manifest,
)
from models.errors import Failed
from models.store.publish import copy_tree
from training.data.decoded import DecodedImages
from training.data.index import BadData
from training.evaluate.labelled import Labelled
from training.export.int8 import FIRST_KEPT, NUM_CALIBRATION, NUM_COMPARED, Comparison, Images, make_form


class AccuracyLossTooLarge(Failed):
    """The 8-bit network is worse than was allowed; there is no bundle."""


def quantize(
    bundle: Path,
    labelled: Labelled,
    target: Path,
    *,
    max_drop: float,
    console: Console,
    num_compared: int = NUM_COMPARED,
    first_kept: Sequence[int] = FIRST_KEPT,
) -> Comparison:
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
        NoInt8: NNCF cannot do it with this network.
        AccuracyLossTooLarge: the accuracy falls by more than `max_drop`.
    """
    manifest = verify(bundle)
    check_kind(manifest)
    imported = manifest.architecture == IMPORTED
    calibrating, held_out = rows_of_any(labelled.decoded) if imported else rows_to_use(bundle, labelled)
    which = f"of {len(labelled.labels):,} images" if imported else "training images"
    count = min(NUM_CALIBRATION, len(calibrating))
    console.print(f"calibrating on {count} {which}", highlight=False)
    images = Images(
        labelled.decoded.images,
        calibrating,
        held_out,
        labelled.labels[held_out],
        labelled.decoded.groups()[held_out],
        flip=was_flipped(manifest),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=target.parent) as folder:
        form = Path(folder, "int8")
        found = make_form(bundle, manifest.input_spec, images, form, num_compared=num_compared, first_kept=first_kept)
        if found.float32 - found.int8 > max_drop:
            less = f"{found.float32 - found.int8:.2%} less, and --max-drop allows {max_drop:.2%}"
            raise AccuracyLossTooLarge(f"Right on {found}: that is {less}.")
        target.mkdir()
        copy_tree(bundle, target)
        (target / INT8).mkdir(parents=True, exist_ok=True)
        copy_tree(form, target / INT8)
    write_manifest(target, replace(manifest, metrics={**manifest.metrics, "int8": found.metrics()}))
    return found


def check_kind(manifest: Manifest) -> None:
    """
    Raises:
        NotForThisModel: an image has any number of labels, or OpenVINO does not compute it.
    """
    refuse_many_labels(manifest, "quantize")
    if "openvino" not in manifest.engines:
        raise NotForThisModel(f"8 bits are for OpenVINO, which does not compute {manifest.model}.")


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
