"""Networks as their papers have them: a wrong layer shows in the number of parameters."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from models.registry import build

IMAGENET = (224, 224, 3)
CIFAR = (32, 32, 3)


@pytest.fixture
def room() -> Iterator[None]:
    """Free a network before the next: AlexNet alone takes 250 MB."""
    yield
    keras.backend.clear_session()


@pytest.fixture
def mixed_bfloat16() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def num_trained(model: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def sides(model: keras.Model) -> list[int]:
    """Height of the feature maps in order, each once."""
    heights = [layer.output.shape[1] for layer in model.layers if "conv" in layer.name or "pool" in layer.name]
    return list(dict.fromkeys(heights))


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    ("name", "input_shape", "num_classes", "expected"),
    [
        ("lenet5", (32, 32, 1), 10, 61_706),
        ("lenet5", (28, 28, 1), 10, 61_706),
        ("lenet5", (32, 32, 3), 10, 62_006),
        ("alexnet", IMAGENET, 1000, 61_100_840),
        ("alexnet", IMAGENET, 10, 57_044_810),
        ("resnet18", IMAGENET, 1000, 11_689_512),
        ("resnet34", IMAGENET, 1000, 21_797_672),
        ("resnet50", IMAGENET, 1000, 25_557_032),
        ("resnet18", CIFAR, 10, 11_173_962),
        ("resnet34", CIFAR, 10, 21_282_122),
        ("resnet50", CIFAR, 10, 23_520_842),
    ],
)
def test_a_network_has_the_shapes_and_the_parameters_of_its_paper(
    name: str, input_shape: tuple[int, int, int], num_classes: int, expected: int
) -> None:
    model = build(name, input_shape=input_shape, num_classes=num_classes)
    assert num_trained(model) == expected
    assert model.inputs[0].dtype == "uint8"
    assert model.outputs[0].dtype == "float32"
    assert model.output_shape == (None, num_classes)
    if name == "alexnet":
        assert sides(model) == [55, 27, 13, 6]
    if (name, input_shape) == ("resnet50", IMAGENET):
        assert model.layers[-3].input.shape == (None, 7, 7, 2048)  # what global pooling gets


def test_rescaling_is_part_of_the_network_and_maps_bytes_to_plus_minus_one() -> None:
    rescale = build("lenet5", input_shape=(32, 32, 1), num_classes=2).get_layer("rescale")
    np.testing.assert_allclose(rescale(np.array([0, 255], np.uint8)), [-1, 1], atol=1e-6)


def test_a_digit_smaller_than_lenets_input_is_centred_on_background() -> None:
    pad = build("lenet5", input_shape=(28, 27, 1), num_classes=10).get_layer("pad")
    padded = np.asarray(pad(np.full((1, 28, 27, 1), 9, np.uint8)))[0, :, :, 0]
    assert padded.shape == (32, 32)
    assert (padded[2:30, 2:29] == 9).all()
    assert padded.sum() == 28 * 27 * 9


@pytest.mark.usefixtures("mixed_bfloat16")
def test_logits_stay_float32_in_mixed_precision() -> None:
    model = build("lenet5", input_shape=(32, 32, 1), num_classes=10)
    assert model.get_layer("c1").compute_dtype == "bfloat16"
    assert model.outputs[0].dtype == "float32"


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("lenet5", None, [0.0]),
        ("lenet5", 0.3, [0.3]),
        ("resnet18", 0.2, [0.2]),
        ("alexnet", None, [0.5, 0.5]),
        ("alexnet", 0.0, [0.0, 0.0]),
    ],
)
def test_dropout_is_what_was_asked_for_or_the_papers(name: str, asked: float | None, expected: list[float]) -> None:
    model = build(name, input_shape=(64, 64, 3), num_classes=2, dropout=asked)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == expected


def test_dropout_acts_in_training_only() -> None:
    model = build("lenet5", input_shape=(32, 32, 1), num_classes=10, dropout=0.5)
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)
    assert not np.allclose(model(image, training=True), model(image, training=True))
    np.testing.assert_array_equal(model(image, training=False), model(image, training=False))


def test_an_unknown_architecture_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'lenet6'.*lenet5, alexnet, resnet18, resnet34, resnet50"):
        build("lenet6", input_shape=(32, 32, 1), num_classes=10)


@pytest.mark.parametrize("input_shape", [(62, 224, 3), (224, 62, 3), (32, 32, 1)])
def test_an_input_too_small_for_alexnet_is_an_error_that_says_what_it_needs(input_shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 63x63 pixels"):
        build("alexnet", input_shape=input_shape, num_classes=10)


def test_the_smallest_input_of_alexnet_is_enough() -> None:
    assert build("alexnet", input_shape=(63, 63, 1), num_classes=2).output_shape == (None, 2)
