"""Bundles with random weights: as fast as trained ones, and made in seconds."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle.manifest import IMAGE, IMAGES, REPORT, Manifest, read_manifest, write_manifest
from models.bundle.preprocessing import InputSpec, decode_image
from models.files.durable import write_array
from models.store.publish import copy_tree, publish

SEED = 0


def publish_random(architecture: str, spec: InputSpec, num_classes: int, exports: Path, golden: list[bytes]) -> None:
    """Publish `architecture` under its own name in `exports`, unless it is there already."""
    if (exports / architecture / "live.json").exists():
        return
    from models.process.quiet import import_quietly

    import_quietly("keras")
    import keras

    from models.networks.registry import build
    from training.evaluate.calibration import softmax
    from training.export.export import export

    keras.utils.set_random_seed(SEED)
    model = build(architecture, input_shape=spec.shape, num_classes=num_classes)
    images = np.stack([decode_image(data, spec) for data in golden])
    class_names = tuple(f"class {i}" for i in range(num_classes))
    manifest = Manifest(architecture, architecture, class_names, spec, metrics={})

    def classify(images: np.ndarray) -> np.ndarray:
        return softmax(model.predict_on_batch(images))

    with tempfile.TemporaryDirectory() as run:
        bundle = export(
            Path(run),
            model=model,
            classify=classify,
            manifest=manifest,
            golden=golden,
            checked=images,
            images=np.empty(0, IMAGE),  # it was trained on none
            finish=without_report,
        )
        publish(bundle, exports)


def without_report(bundle: Path) -> dict[str, Any]:
    (bundle / REPORT).write_text("")
    return {}


def publish_in_8_bits(bundle: Path, images: list[bytes], exports: Path) -> None:
    """Publish the bundle once more, quantized, in other exports, unless it is there; `images` calibrate it."""
    if (exports / read_manifest(bundle).model / "live.json").exists():
        return
    from training.data.dataset import Data, find_images, prepare
    from training.evaluate.labelled import read_labelled
    from training.export.quantize import quantize

    def as_if_trained_on(data: Data, target: Path) -> Path:
        """The bundle once more, whose list of images says on which side each of these was."""
        sides = (data.split.train, data.split.val, data.split.test)
        rows = np.concatenate(sides)
        listed = np.zeros(len(rows), IMAGE)
        listed["hash"], listed["label"] = data.decoded.hashes()[rows], data.decoded.labels[rows]
        listed["side"] = np.repeat((1, 2, 3), [len(side) for side in sides])
        listed["predicted"] = -1
        target.mkdir()
        copy_tree(bundle, target)
        write_array(target / IMAGES, listed)
        write_manifest(target, manifest)
        return target

    manifest = read_manifest(bundle)
    with tempfile.TemporaryDirectory() as folder:
        for i, image in enumerate(images):
            path = Path(folder, "images", manifest.class_names[i % 2], f"{i}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
        console = Console(file=io.StringIO())
        labelled_folder, cache = str(Path(folder, "images")), Path(folder, "cache")
        data = prepare(find_images(labelled_folder, cache), manifest.input_spec, cache, console)
        source, target = as_if_trained_on(data, Path(folder, "source")), Path(folder, "bundle")
        labelled = read_labelled(source, manifest, labelled_folder, cache, console)
        # The weights are random, so a long comparison would tell nothing.
        quantize(source, labelled, target, max_drop=1.0, console=console, num_compared=1, first_kept=(0,))
        publish(target, exports)
