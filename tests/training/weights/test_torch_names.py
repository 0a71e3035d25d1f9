"""State dicts of torchvision and timm become networks that answer as PyTorch's do: NumPy is the referee."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from models.networks.registry import build
from tests.needs import DEEP
from tests.training.weights.torch_referee import answers, state_dict
from training.weights.torch_file import BadWeights
from training.weights.torch_names import assign_torch

NUM_CLASSES = 10


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """A network is freed before the next."""
    yield
    keras.backend.clear_session()


def assert_answers(name: str, side: int, tensors: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """A network with `tensors` answers as the referee does with `expected`."""
    network = build(name, input_shape=(side, side, 3), num_classes=NUM_CLASSES, scaling="imagenet")
    assign_torch(network, tensors)
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    logits = answers(name, expected, image)
    assert np.std(logits) > 1e-3
    np.testing.assert_allclose(network(image[None], training=False)[0], logits, rtol=0, atol=1e-5 * abs(logits).max())


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet18", 224),
        ("resnet50", 224),
        ("resnet34", 97),
        pytest.param("resnet101", 224, marks=DEEP),
        pytest.param("resnet152", 224, marks=DEEP),
        ("alexnet", 224),
        ("vgg11", 96),
        ("vgg11_bn", 96),
        *(pytest.param(name, 96, marks=DEEP) for name in ("vgg_b", "vgg16", "vgg19", "vgg_b_bn", "vgg16_bn")),
        pytest.param("vgg19_bn", 224, marks=DEEP),
    ],
)
def test_a_network_with_torchvisions_tensors_answers_as_torchvisions(name: str, side: int) -> None:
    tensors = state_dict(name, NUM_CLASSES, side=side)
    assert_answers(name, side, tensors, tensors)


def test_timms_vgg_whose_dense_layers_are_convolutions_is_the_same_network() -> None:
    tensors = state_dict("vgg11", NUM_CLASSES, side=96)
    theirs = {name: value for name, value in tensors.items() if name.startswith("features")}
    for place, own, shape in ((0, "pre_logits.fc1", (4096, 512, 3, 3)), (3, "pre_logits.fc2", (4096, 4096, 1, 1))):
        theirs[f"{own}.weight"] = tensors[f"classifier.{place}.weight"].reshape(shape)
        theirs[f"{own}.bias"] = tensors[f"classifier.{place}.bias"]
    theirs |= {f"head.fc.{part}": tensors[f"classifier.6.{part}"] for part in ("weight", "bias")}
    assert_answers("vgg11", 96, theirs, tensors)


def test_a_first_dense_layer_for_images_of_another_size_is_refused() -> None:
    network = build("alexnet", input_shape=(96, 96, 3), num_classes=NUM_CLASSES)
    with pytest.raises(BadWeights, match=r"The layer fc6 needs \[\(1024, 4096\)"):
        assign_torch(network, state_dict("alexnet", NUM_CLASSES, side=224))


@pytest.mark.parametrize(("name", "other"), [("resnet18", "resnet34"), ("resnet34", "resnet18"), ("vgg11", "vgg11_bn")])
def test_a_file_of_a_network_with_more_or_fewer_layers_is_refused(name: str, other: str) -> None:
    network = build(name, input_shape=(96, 96, 3), num_classes=NUM_CLASSES)
    with pytest.raises(BadWeights, match=r"tensors are of no layer|has no tensor|needs"):
        assign_torch(network, state_dict(other, NUM_CLASSES, side=96))
