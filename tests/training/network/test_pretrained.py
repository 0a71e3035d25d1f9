"""Training that starts from a model that there is already."""

import io
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from models.bundle.manifest import Manifest
from models.bundle.preprocessing import InputSpec
from models.networks.registry import build
from tests.training.decoded import decoded_images, halves_and_quarters, separable
from training.config.settings import Settings
from training.fit.fit import fit
from training.fit.options import FitOptions
from training.fit.setup import get_ready
from training.network import pretrained as fine_tuning
from training.network.pretrained import transfer_weights

SETTINGS = Settings("lenet5", learning_rate=0.01, epochs=2, batch_size=8, warmup_epochs=0, patience=0)
CLASSES = ("class 0", "class 1")
QUIET = Console(file=io.StringIO())


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> keras.Model:
    """What the bundle is taken to hold."""
    network = build("lenet5", input_shape=(32, 32, 1), num_classes=2)
    manifest = Manifest("toy", "lenet5", CLASSES, InputSpec(32, 32, 1), {})
    monkeypatch.setattr(fine_tuning, "load_network", lambda bundle: (network, manifest))
    return network


def layers(network: keras.Model) -> list[keras.Layer]:
    return [layer for layer in network.layers if layer.weights]


def equal(one: keras.Layer, other: keras.Layer) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_with_the_same_classes_every_layer_is_taken_over(source: keras.Model) -> None:
    network = build("lenet5", input_shape=(32, 32, 1), num_classes=2)
    assert transfer_weights(network, Path(), CLASSES) == (5, [])
    assert all(map(equal, layers(network), layers(source)))


@pytest.mark.parametrize("class_names", [("class 1", "class 0"), ("cat", "dog"), ("a", "b", "c")])
def test_with_other_classes_the_last_layer_is_new(source: keras.Model, class_names: tuple[str, ...]) -> None:
    network = build("lenet5", input_shape=(32, 32, 1), num_classes=len(class_names))
    num_layers, new = transfer_weights(network, Path(), class_names)
    assert num_layers == 4
    assert [id(w) for w in new] == [id(w) for w in layers(network)[-1].weights]


def test_another_network_is_refused(source: keras.Model) -> None:
    other = build("basic_cnn", input_shape=(32, 32, 1), num_classes=2)
    with pytest.raises(ValueError, match="holds lenet5, whose layers are not those of basic_cnn"):
        transfer_weights(other, Path(), CLASSES)


def test_while_they_are_frozen_old_layers_stay_and_new_ones_learn(source: keras.Model, tmp_path: Path) -> None:
    labels = np.arange(64) % 3
    decoded = decoded_images(separable().images, labels)
    frozen = replace(SETTINGS, freeze_epochs=1, epochs=1)
    start = get_ready(decoded, halves_and_quarters(decoded), frozen, QUIET, start=tmp_path)
    for epochs, moved in ((1, [False] * 4 + [True]), (2, [True] * 5)):
        run = tmp_path / str(epochs)
        run.mkdir()
        settings = replace(frozen, epochs=epochs)
        trained = fit(decoded, halves_and_quarters(decoded), settings, run, FitOptions(), start=tmp_path)
        pairs = zip(layers(trained.model), layers(start.model), strict=True)
        assert [not equal(mine, before) for mine, before in pairs] == moved


def test_frozen_weights_do_not_decay_beside_their_gradient() -> None:
    with pytest.raises(ValueError, match="Frozen weights would still decay"):
        replace(SETTINGS, freeze_epochs=1, decoupled_weight_decay=0.01)
