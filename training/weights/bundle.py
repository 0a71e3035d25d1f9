"""A bundle of ImageNet's 1,000 classes from weights that others have trained: an image classifier without training."""

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import sklearn.datasets

from models.bundle.manifest import IMAGE, MANIFEST, Manifest
from models.bundle.preprocessing import InputSpec, decode_image
from models.networks.registry import architecture_of, build
from training.evaluate.calibration import softmax
from training.export.export import export
from training.report.page import Report
from training.runs.lineage import circumstances
from training.weights.convert import assign, efficientnet_lite_prefix
from training.weights.sources import SOURCES, class_names, find_weights
from training.weights.torch_file import read_state_dict

# Photographs that scikit-learn carries (CC BY 2.0, by Flickr's dany13 and seeks2dream): a palace and a flower.
PHOTOGRAPHS = [Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")]
NUM_CHECKED = 8  # images on which the export must agree


def cached_bundle(network_name: str, cache: Path) -> Path:
    """The bundle of a network's published weights, made once and kept in the cache.

    Raises:
        MissingWeights, BadWeights, UserError, ExportFailed: as `make_bundle`.
    """
    home = cache / "pretrained"
    home.mkdir(parents=True, exist_ok=True)
    bundle = home / f"{network_name}-{SOURCES[network_name].sha256[:8]}" / "bundle"
    if not (bundle / MANIFEST).exists():
        with tempfile.TemporaryDirectory(prefix=".making-", dir=home) as staging:
            make_bundle(network_name, "imagenet", Path(staging))
            with contextlib.suppress(OSError):  # another process was first
                Path(staging).rename(bundle.parent)
                Path(staging).mkdir()  # which is removed when the block ends
    return bundle


def network_of(name: str) -> keras.Model:
    """A network of 1,000 classes with the weights that a package carries.

    Raises:
        MissingWeights, BadWeights, UserError: the file is not here, or is another one.
    """
    path = find_weights(name)
    network = build(name, input_shape=architecture_of(name).input_shape, num_classes=1000)
    assign(network, read_state_dict(path), efficientnet_lite_prefix(network))
    return network


def make_bundle(network_name: str, model: str, run: Path) -> Path:
    """Write `run/bundle` and check it; returns its path.

    Args:
        model: the name under which it will be published.

    Raises:
        MissingWeights, BadWeights, UserError: as `network_of`.
        ExportFailed: the bundle does not answer as the network does.
    """
    network, source = network_of(network_name), SOURCES[network_name]
    facts = {name: str(value) for name, value in asdict(source).items()}
    height, width, channels = architecture_of(network_name).input_shape
    manifest = Manifest(
        model=model,
        architecture=network_name,
        class_names=class_names(),
        input_spec=InputSpec(height, width, channels, "crop"),
        metrics={},
        lineage={"weights": asdict(source), **circumstances()},
    )
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
        report=Report(f"{model}: {network_name} as published", facts, []).html(),
        images=np.empty(0, IMAGE),
    )


def classifier_of(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    return lambda images: softmax(network.predict_on_batch(images), 1.0)
