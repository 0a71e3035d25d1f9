"""A bundle from weights that others have trained: an image classifier without training."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import sklearn.datasets

from models.bundle.manifest import IMAGE, MANIFEST, REPORT, Manifest
from models.bundle.preprocessing import InputSpec, decode_image
from training.evaluate.calibration import softmax
from training.export.export import export
from training.report.page import Report
from training.runs.layers import write_layers
from training.runs.lineage import circumstances
from training.weights.pretrained import Pretrained, from_package
from training.weights.sources import SOURCES

# Photographs that scikit-learn carries (CC BY 2.0, by Flickr's dany13 and seeks2dream): a palace and a flower.
PHOTOGRAPHS = [Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")]
NUM_CHECKED = 8  # images on which the export must agree


def cached_bundle(network_name: str, cache: Path) -> Path:
    """The bundle of a network's published weights, made once and kept in the cache.

    Raises:
        MissingWeights, BadWeights, UserError, ExportFailed: as `from_package` and `make_bundle`.
    """
    home = cache / "pretrained"
    home.mkdir(parents=True, exist_ok=True)
    bundle = home / f"{network_name}-{SOURCES[network_name].sha256[:8]}" / "bundle"
    if not (bundle / MANIFEST).exists():
        with tempfile.TemporaryDirectory(prefix=".making-", dir=home) as staging:
            make_bundle(from_package(network_name), "imagenet", Path(staging))
            with contextlib.suppress(OSError):  # another process was first
                Path(staging).rename(bundle.parent)
                Path(staging).mkdir()  # which is removed when the block ends
    return bundle


def make_bundle(pretrained: Pretrained, model: str, run: Path) -> Path:
    """Write `run/bundle` and check it; returns its path.

    Args:
        model: the name under which it will be published.

    Raises:
        ExportFailed: the bundle does not answer as the network does.
    """
    network = pretrained.network
    height, width, channels = network.input_shape[1:]
    manifest = Manifest(
        model=model,
        architecture=network.name,
        class_names=pretrained.class_names,
        input_spec=InputSpec(height, width, channels, "crop"),
        metrics={},
        scaling=pretrained.scaling,
        lineage={"weights": pretrained.facts, **circumstances()},
    )
    facts = {name: str(value) for name, value in pretrained.facts.items()}
    report = Report(f"{model}: {network.name} with weights of others", facts, [])

    def finish(bundle: Path) -> dict[str, Any]:
        (bundle / REPORT).write_text(report.html(), encoding="utf-8")
        write_layers(bundle, network, manifest.input_spec)
        return {}

    golden = [path.read_bytes() for path in PHOTOGRAPHS]
    images = np.stack([decode_image(data, manifest.input_spec) for data in golden])
    noise = np.random.default_rng(0).integers(0, 256, (NUM_CHECKED - len(images), *images.shape[1:]), np.uint8)
    return export(
        run,
        model=network,
        classify=classifier_of(network),
        manifest=manifest,
        golden=golden,
        checked=np.concatenate([images, noise]),
        images=np.empty(0, IMAGE),
        finish=finish,
    )


def classifier_of(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    return lambda images: softmax(network.predict_on_batch(images), 1.0)
