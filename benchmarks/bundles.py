"""Bundles with random weights: as fast as trained ones, and made in seconds."""

import io
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console

from models.bundle import Manifest, read_manifest
from models.exports import publish
from models.preprocessing import InputSpec, decode_image

SEED = 0


def publish_random(architecture: str, spec: InputSpec, num_classes: int, exports: Path, golden: list[bytes]) -> None:
    """Publish `architecture` under its own name in `exports`, unless it is there already."""
    if (exports / architecture / "live.json").exists():
        return
    from models.quiet import import_quietly

    import_quietly("keras")
    import keras

    from models.registry import build
    from training.calibration import softmax
    from training.export import Answers, export

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
            answers=Answers(images, classify(images)),
            report="",
        )
        publish(bundle, exports)


def publish_in_8_bits(bundle: Path, images: list[bytes], exports: Path) -> None:
    """Publish the bundle once more, quantized, in other exports, unless it is there; `images` calibrate it."""
    if (exports / read_manifest(bundle).model / "live.json").exists():
        return
    from training.quantize import quantize
    from training.run import prepare

    manifest = read_manifest(bundle)
    with tempfile.TemporaryDirectory() as folder:
        for i, image in enumerate(images):
            path = Path(folder, "images", manifest.class_names[i % 2], f"{i}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
        console = Console(file=io.StringIO())
        data = prepare(str(Path(folder, "images")), manifest.input_spec, Path(folder, "cache"), console)
        quantize(bundle, data, Path(folder, "bundle"), max_drop=1.0, console=console)  # it knows nothing anyway
        publish(Path(folder, "bundle"), exports)
