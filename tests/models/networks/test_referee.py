"""The networks that `keras.applications` has too: equal layer by layer, and with equal weights equal in their answers.

The referee's ResNets differ from ours in three ways, which a copy of the weights must respect: their convolutions have
biases, which move into the mean that batch normalisation takes away; they stride in the 1x1 of a bottleneck, as the
paper does, and as `resnet50_v1` does here; and the epsilon of their batch normalisation is 1.001e-5, ours 1e-5.
"""

import re
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest

from models.networks.registry import build
from tests.needs import LONG
from tests.random_weights import randomise

SIDE, NUM_CLASSES = 96, 10  # large enough for the papers' stems and dense layers


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """Names of layers begin anew, and a network is freed before the next."""
    keras.backend.clear_session()
    yield
    keras.backend.clear_session()


def referee(kind: Callable[..., keras.Model]) -> keras.Model:
    """Their network with random weights, moving statistics included."""
    return randomise(kind(weights=None, input_shape=(SIDE, SIDE, 3), classes=NUM_CLASSES, classifier_activation=None))


def assert_same_answers(ours: keras.Model, theirs: keras.Model) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    expected = np.asarray(theirs(images / 127.5 - 1, training=False))  # scaling is a layer of ours
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(ours(images, training=False), expected, atol=1e-4 * np.abs(expected).max())


def weighty(model: keras.Model) -> list[keras.Layer]:
    """Convolutions and dense layers, in the order in which they were made, which their names count."""
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return sorted(layers, key=lambda layer: (isinstance(layer, keras.layers.Dense), serial(layer)))


def normalisations(model: keras.Model) -> list[keras.Layer]:
    return sorted((x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)), key=serial)


def serial(layer: keras.Layer) -> int:
    number = re.search(r"_(\d+)$", layer.name)
    return int(number[1]) if number else 0


def assert_same_layers(ours: list[keras.Layer], theirs: list[keras.Layer]) -> None:
    assert [(x.kernel.shape, x.output.shape) for x in ours] == [(x.kernel.shape, x.output.shape) for x in theirs]


@pytest.mark.parametrize(("name", "kind"), [("vgg16", keras.applications.VGG16), ("vgg19", keras.applications.VGG19)])
def test_vgg_is_the_referees(name: str, kind: Callable[..., keras.Model]) -> None:
    theirs = referee(kind)
    ours = build(name, input_shape=(SIDE, SIDE, 3), num_classes=NUM_CLASSES)
    assert_same_layers(
        [layer for layer in ours.layers if hasattr(layer, "kernel")],
        [layer for layer in theirs.layers if hasattr(layer, "kernel")],
    )
    ours.set_weights(theirs.get_weights())
    assert_same_answers(ours, theirs)


def test_inception_v3_is_the_referees() -> None:
    theirs = referee(keras.applications.InceptionV3)
    keras.backend.clear_session()
    ours = build("inception_v3", input_shape=(SIDE, SIDE, 3), num_classes=NUM_CLASSES)
    assert_same_layers(weighty(ours), weighty(theirs))
    for mine, other in zip(weighty(ours) + normalisations(ours), weighty(theirs) + normalisations(theirs), strict=True):
        mine.set_weights(other.get_weights())
    assert_same_answers(ours, theirs)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet50_v1", keras.applications.ResNet50),
        pytest.param("resnet101_v1", keras.applications.ResNet101, marks=LONG),  # resnet152 has the same blocks
        ("resnet152_v1", keras.applications.ResNet152),
    ],
)
def test_a_resnet_is_the_referees(name: str, kind: Callable[..., keras.Model]) -> None:
    theirs = referee(kind)
    ours = build(name, input_shape=(SIDE, SIDE, 3), num_classes=NUM_CLASSES)
    names = [layer.name for layer in ours.layers if isinstance(layer, keras.layers.Conv2D)]
    stems = [stem.replace("shortcut", "0") for stem in names]  # as the referee calls them, who has the paper's stages
    assert_same_layers([ours.get_layer(n) for n in names], [theirs.get_layer(f"{stem}_conv") for stem in stems])
    for own, stem in zip(names, stems, strict=True):
        kernel, bias = theirs.get_layer(f"{stem}_conv").get_weights()
        gamma, beta, mean, variance = theirs.get_layer(f"{stem}_bn").get_weights()
        ours.get_layer(own).set_weights([kernel])
        ours.get_layer(f"{own}_bn").set_weights([gamma, beta, mean - bias, variance])
    ours.get_layer("logits").set_weights(theirs.get_layer("predictions").get_weights())
    assert_same_answers(ours, theirs)
