"""A bundle with random weights: as fast as a trained one, and made in seconds."""

import tempfile
from pathlib import Path

import numpy as np

from models.bundle import Manifest
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
    from training.export import Answers, export
    from training.metrics import softmax

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
