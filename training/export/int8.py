"""The 8-bit form of a network: made by NNCF in a process of its own, and compared with float32 on held-out images.

NNCF finds the ranges of all activations on calibration images and puts the roundings into OpenVINO's form of the
network, which lies in the bundle beside the SavedModel. If int8 changes the class of too many images, the first layers
and the last one stay in higher precision.

    WORK/request.npz    what is asked: `Images` without the pixels, which the process maps from their own file
    WORK/request.json   `Request`
    WORK/form/          by the process: model.xml, model.bin, probabilities.json
    WORK/found.json     by it: `Comparison`
"""

import json
import logging
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import INT8, Manifest, read_golden
from models.bundle.preprocessing import InputSpec, decode_image
from models.errors import Failed
from models.files.typed import read_json
from models.process.children import python_command, python_environment
from training.augment.pipeline import augment
from training.config.augmentation import Augmentation
from training.config.settings import Int8

NUM_CALIBRATION = 300  # images; NNCF's own default, and more change little
BATCH_SIZE = 32
NUM_COMPARED = 2_000  # images, at least, whose classes are compared: those held out, and changed copies of them
FEWEST_HELD_OUT = 500  # images that do not resemble each other, from which on the comparison decides by itself
CHANGES = Augmentation(flip=False, shift=0.0, min_area=0.7, contrast=0.2, brightness=0.1, saturation=0.2)
ENOUGH = 0.99  # share of them with the same class as in float32; below it, more layers stay in higher precision
FIRST_KEPT = (0, 6, 12, 24)  # number of first layers in higher precision, tried in turn; if not 0, the last one, too
LAYERS = ("Convolution", "GroupConvolution", "MatMul")  # OpenVINO's names of what has weights
OUTPUT = "probabilities"  # a network may have further outputs, which stay as they are
FORM = "int8-form"  # beside a bundle that is not sealed yet: its 8-bit form, until it is known to be faithful
NORMAL_95 = 1.96  # standard errors on each side of a mean, in which it lies with a probability of 95 %


class NoInt8(Failed):
    """The 8-bit form could not be made."""


@dataclass(frozen=True, slots=True)
class Images:
    """What the form is calibrated and compared on.

    Attributes:
        pixels: uint8 (N, H, W, C); those of an .npy file that is memory-mapped are not copied.
        calibrating: rows by which the ranges of the activations are found; a part of them is used.
        held_out: rows (M,) that the network was not trained on.
        labels, groups: int64 (M,), of these; near duplicates have the same group.
        flip: whether mirror images are a fair test; of a network that never saw any they are not.
    """

    pixels: np.ndarray
    calibrating: np.ndarray
    held_out: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    flip: bool

    @property
    def num_different(self) -> int:
        return len(np.unique(self.groups))


@dataclass(frozen=True, slots=True)
class Request:
    """Attributes:
    bundle: a folder with a SavedModel and its golden images; it need not be sealed.
    pixels: the .npy file of the images.
    num_compared: images, at least, whose classes are compared.
    first_kept: numbers of first layers that may stay in higher precision, tried in turn.
    """

    bundle: str
    spec: InputSpec
    pixels: str
    flip: bool
    num_compared: int
    first_kept: tuple[int, ...]
    enough: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What 8 bits cost.

    Attributes:
        num_images: held-out images, on which the network is right as often as `float32` and `int8` say.
        num_groups: of them, where near duplicates count once.
        num_compared: those images and changed copies of them, of which `agreement` have the same class in both.
        agreement_interval: of 95 %, from the spread between the groups: copies of one image are no further evidence.
        first_kept: layers that stay in higher precision, from the first on; if there are any, the last one, too.
        num_layers: that have weights.
    """

    num_images: int
    num_groups: int
    float32: float
    int8: float
    num_compared: int
    agreement: float
    agreement_interval: tuple[float, float]
    first_kept: int
    num_layers: int

    def __str__(self) -> str:
        return f"{self.int8:.2%} of {self.num_images:,} held-out images in int8, {self.float32:.2%} in float32"

    @property
    def is_faithful(self) -> bool:
        return self.agreement >= ENOUGH

    @property
    def about_classes(self) -> str:
        kept = f"; the first {self.first_kept} of {self.num_layers} layers and the last layer stay in higher precision"
        return (
            f"int8 gives the same class as float32 for {self.agreement:.2%} of {self.num_compared:,} images (held-out"
            f" ones and augmented copies){kept if self.first_kept else ''}"
        )

    def metrics(self) -> dict[str, Any]:
        """As the manifest has them."""
        return {
            "num_images": self.num_images,
            "accuracy": self.int8,
            "num_compared": self.num_compared,
            "agreement": self.agreement,
            "agreement_interval": list(self.agreement_interval),
            "first_layers_kept": self.first_kept,
        }


def make_form(
    bundle: Path,
    spec: InputSpec,
    images: Images,
    target: Path,
    *,
    num_compared: int = NUM_COMPARED,
    first_kept: Sequence[int] = FIRST_KEPT,
) -> Comparison:
    """Make the 8-bit form of a bundle, in the new folder `target`.

    Args:
        target: its parent exists.

    Raises:
        NoInt8: NNCF or OpenVINO cannot do it with this network.
    """
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=target.parent) as folder:
        work = Path(folder)
        pixels = getattr(images.pixels, "filename", None) or work / "pixels.npy"
        if not isinstance(images.pixels, np.memmap):
            np.save(pixels, images.pixels)
        request = Request(str(bundle), spec, str(pixels), images.flip, num_compared, tuple(first_kept), ENOUGH)
        (work / "request.json").write_text(json.dumps(asdict(request)))
        arrays = {name: getattr(images, name) for name in ("calibrating", "held_out", "labels", "groups")}
        np.savez(work / "request.npz", **arrays)
        command = python_command("training.export.int8", str(work))
        done = subprocess.run(command, env=python_environment(), capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
            raise NoInt8(f"The 8-bit form could not be made: {last[:300]}")
        found: Comparison = read_json(work / "found.json", Comparison)
        (work / "form").rename(target)
    return found


def make_faithful_form(
    bundle: Path, manifest: Manifest, images: Images, asked: Int8, say: Callable[[str], None]
) -> dict[str, Any]:
    """Put the 8-bit form into a bundle that is not sealed yet, if it is faithful to float32; returns its metrics.

    They are `int8` in the manifest; nothing where there is no form. A form that is not made, or not kept, is no fault
    of the bundle.

    Args:
        asked: `auto` wants enough held-out images to judge by, `on` takes those there are, `off` makes none.
        say: is told why there is a form, or none.
    """
    if asked == "off" or manifest.task == "multi_label" or "openvino" not in manifest.engines:
        return {}
    if asked == "auto" and images.num_different < FEWEST_HELD_OUT:
        say(
            f"no 8-bit form: it is compared on {FEWEST_HELD_OUT} held-out images or more, and there are "
            f"{images.num_different:,}; --int8 on takes those"
        )
        return {}
    if not len(images.held_out) or not len(images.calibrating):
        say("no 8-bit form: there are no held-out images to compare it on")
        return {}
    say("making the 8-bit form and comparing it with float32")
    form = bundle.with_name(FORM)
    try:
        found = make_form(bundle, manifest.input_spec, images, form)
    except NoInt8 as error:
        say(str(error))
        return {}
    try:
        if not found.is_faithful:
            say(f"no 8-bit form: {found.about_classes}, and at least {ENOUGH:.0%} are needed")
            return {}
        form.rename(bundle / INT8)
    finally:
        shutil.rmtree(form, ignore_errors=True)
    say(found.about_classes)
    return {"int8": found.metrics()}


def quantize_to(work: Path) -> None:
    """What the process does: the form, and what it costs."""
    import openvino

    request: Request = read_json(work / "request.json", Request)
    with np.load(work / "request.npz") as arrays:
        images = Images(np.load(request.pixels, mmap_mode="r"), **arrays, flip=request.flip)
    bundle, core = Path(request.bundle), openvino.Core()
    quantized, found = best_of_precisions(core, core.read_model(bundle), images, request)
    (work / "form").mkdir()
    openvino.save_model(quantized, work / "form" / "model.xml", compress_to_fp16=False)
    answers = core.compile_model(quantized, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    golden = [decode_image(encoded, request.spec) for encoded, _ in read_golden(bundle)]
    rows = [answers(image[None])[OUTPUT][0].tolist() for image in golden]
    (work / "form" / "probabilities.json").write_text(json.dumps(rows))
    (work / "found.json").write_text(json.dumps(asdict(found)))


def best_of_precisions(core: Any, network: Any, images: Images, request: Request) -> tuple[Any, Comparison]:
    """The first of the networks in 8 bits that agrees with float32 on enough images, or that which agrees on most.

    What stays in higher precision is computed in the one that the service would take here.
    """
    import nncf

    nncf.set_log_level(logging.WARNING)  # it would list each layer that is left out
    rows = images.calibrating
    rows = rows[:: max(1, len(rows) // NUM_CALIBRATION)][:NUM_CALIBRATION]
    calibration = nncf.Dataset([images.pixels[row][None] for row in rows])
    layers = [node.get_friendly_name() for node in network.get_ordered_ops() if node.get_type_name() in LAYERS]
    rest = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    views = partial(views_of, images.pixels, images.held_out, request.num_compared, flip=images.flip)

    def classes(model: Any, precision: str) -> np.ndarray:
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        return np.concatenate([compiled(batch)[OUTPUT].argmax(axis=1) for batch in views()])

    exact = classes(network, "f32")
    tried: list[tuple[Any, Comparison]] = []
    for num_kept in (count for count in request.first_kept if count < len(layers)):
        kept = nncf.IgnoredScope(names=[*layers[:num_kept], layers[-1]] if num_kept else [])
        quantized = nncf.quantize(network, calibration, subset_size=len(rows), ignored_scope=kept)
        found = compare(exact, classes(quantized, rest), images, num_kept, len(layers))
        tried.append((quantized, found))
        if found.agreement >= request.enough:
            break
    return max(tried, key=lambda pair: pair[1].agreement)


def compare(exact: np.ndarray, said: np.ndarray, images: Images, first_kept: int, num_layers: int) -> Comparison:
    """
    Args:
        exact, said: int64 (views * M,): the classes in float32 and in int8; all images, then all of them again.
    """
    labels = images.labels
    shares = (exact == said).reshape(-1, len(labels)).mean(axis=0)  # of each image's views
    return Comparison(
        num_images=len(labels),
        num_groups=images.num_different,
        float32=float((exact[: len(labels)] == labels).mean()),
        int8=float((said[: len(labels)] == labels).mean()),
        num_compared=len(exact),
        agreement=float(shares.mean()),
        agreement_interval=interval_of(shares, images.groups),
        first_kept=first_kept,
        num_layers=num_layers,
    )


def interval_of(shares: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % of the mean of `shares` (M,), where those of one group go together (Liang and Zeger, 1986)."""
    mean = float(shares.mean())
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=shares - mean)
    error = math.sqrt(float((sums**2).sum())) / len(shares)
    return max(0.0, mean - NORMAL_95 * error), min(1.0, mean + NORMAL_95 * error)


def views_of(images: np.ndarray, rows: np.ndarray, num_compared: int, *, flip: bool) -> Iterator[np.ndarray]:
    """Batches uint8 (B, H, W, C): the images [rows], then changed copies of them until there are enough."""
    changes = replace(CHANGES, flip=flip)
    for epoch in range(max(1, math.ceil(num_compared / len(rows)))):
        for start in range(0, len(rows), BATCH_SIZE):
            part = rows[start : start + BATCH_SIZE]
            batch = np.asarray(images[part])
            yield augment(batch, part, seed=0, epoch=epoch, augmentation=changes) if epoch else batch


if __name__ == "__main__":
    quantize_to(Path(sys.argv[1]))
