"""Files of `keras.applications` are read exactly and become networks that answer as Keras's own do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from tests.needs import DEEP, LONG
from tests.training.weights.keras_files import application, small_network, write_keras_file
from training.weights.keras_file import read_keras_file
from training.weights.pretrained import from_file
from training.weights.torch_file import BadWeights


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """Names of layers begin anew, and a network is freed before the next."""
    keras.backend.clear_session()
    yield
    keras.backend.clear_session()


def write_labels(folder: Path, count: int) -> Path:
    (folder / "labels.txt").write_text("".join(f"class {i}\n" for i in range(count)))
    return folder / "labels.txt"


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("resnet50_v1", "ResNet50", "caffe"),
        ("inception_v3", "InceptionV3", "tf"),
        pytest.param("resnet101_v1", "ResNet101", "caffe", marks=DEEP),
        pytest.param("resnet152_v1", "ResNet152", "caffe", marks=DEEP),
        pytest.param("vgg16", "VGG16", "caffe", marks=LONG),
        pytest.param("vgg19", "VGG19", "caffe", marks=DEEP),
    ],
)
def test_the_network_of_a_file_answers_as_keras_own_does(tmp_path: Path, name: str, kind: str, mode: str) -> None:
    """Its preprocessing, which reverses the colours for `caffe`, is inside the network here."""
    theirs = application(kind, 10)
    path = write_keras_file(tmp_path / "weights.h5", theirs)
    keras.backend.clear_session()
    ours = from_file(name, path, labels=write_labels(tmp_path, 10))
    assert ours.scaling == ("signed" if mode == "tf" else mode)
    images = np.random.default_rng(1).integers(0, 256, (2, *ours.network.input_shape[1:]), dtype=np.uint8)
    pixels = keras.applications.imagenet_utils.preprocess_input(images.astype(np.float32), mode=mode)
    expected = np.asarray(theirs(pixels, training=False))
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(
        ours.network(images, training=False), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_layers_come_back_in_order_bit_by_bit_from_weights_and_from_a_whole_model(tmp_path: Path) -> None:
    network = small_network()
    path = write_keras_file(tmp_path / "weights.h5", network)
    with h5py.File(path) as file, h5py.File(tmp_path / "model.h5", "w") as whole:
        file.copy(file, whole, name="model_weights")
    for file in (path, tmp_path / "model.h5"):
        found = read_keras_file(file)
        assert [layer.name for layer in found] == ["conv", "predictions"]
        for mine, expected in zip((a for layer in found for a in layer.arrays), network.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, expected)


def external_link(file: h5py.File) -> None:
    del file["conv"]
    file["conv"] = h5py.ExternalLink("/etc/passwd", "/conv")


def numbers_of_another_file(file: h5py.File) -> None:
    name = file["conv"].attrs["weight_names"][0]
    shape = file["conv"][name].shape
    del file["conv"][name]
    file["conv"].create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, 432)])


def claims(file: h5py.File) -> None:
    name = file["conv"].attrs["weight_names"][0]
    del file["conv"][name]
    file["conv"].create_dataset(name, (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip")


def words(file: h5py.File) -> None:
    name = file["conv"].attrs["weight_names"][0]
    del file["conv"][name]
    file["conv"].create_dataset(name, data=[b"words"])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (external_link, "conv is a link"),
        (numbers_of_another_file, "its numbers lie in another file"),
        (claims, "its arrays are larger than the file"),
        (words, "a weight is no array of numbers"),
        (lambda file: file.attrs.__delitem__("layer_names"), "damaged or no file of weights"),
        (lambda file: file.__delitem__("conv"), "damaged or no file of weights"),
    ],
)
def test_a_file_that_leads_elsewhere_or_lacks_something_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], complaint: str
) -> None:
    path = write_keras_file(tmp_path / "weights.h5", small_network())
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(BadWeights, match=complaint):
        read_keras_file(path)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_damaged(tmp_path: Path, share: float) -> None:
    path = write_keras_file(tmp_path / "weights.h5", small_network())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadWeights, match="damaged or no file of weights"):
        read_keras_file(path)


def test_the_own_form_of_keras_3_is_refused_with_what_to_do(tmp_path: Path) -> None:
    small_network().save_weights(tmp_path / "own.weights.h5")
    with pytest.raises(BadWeights, match=r"model\.save\('weights\.h5'\), and not by model\.save_weights"):
        read_keras_file(tmp_path / "own.weights.h5")


def test_a_file_of_another_network_and_one_without_its_last_layer_are_refused(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, 10)
    path = write_keras_file(tmp_path / "weights.h5", application("ResNet50", 10))
    with pytest.raises(BadWeights, match=r"has 107 layers with weights, and keras.applications.ResNet101 has 209"):
        from_file("resnet101_v1", path, labels=labels)
    path = write_keras_file(tmp_path / "notop.h5", application("ResNet50", include_top=False))
    with pytest.raises(BadWeights, match="or without its last layer"):
        from_file("resnet50_v1", path, labels=write_labels(tmp_path, 2048))


def test_a_layer_of_another_shape_is_named(tmp_path: Path) -> None:
    path = write_keras_file(tmp_path / "weights.h5", application("ResNet50", 10))
    with h5py.File(path, "r+") as file:
        group, name = file["conv1_conv"], file["conv1_conv"].attrs["weight_names"][0]
        del group[name]
        group[name] = np.zeros((3, 3, 3, 64), np.float32)
    with pytest.raises(BadWeights, match=r"The file's layer conv1_conv has \[\(3, 3, 3, 64\)"):
        from_file("resnet50_v1", path, labels=write_labels(tmp_path, 10))
