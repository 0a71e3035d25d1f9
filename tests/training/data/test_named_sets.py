"""Named data sets become folders like any other."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.images import noise
from training.data import named_sets as datasets
from training.data.named_sets import DATA_SETS, folder_of, move_into_place

NUM_CLASSES = {"mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_digits_are_1797_grey_images_in_ten_folders(tmp_path: Path) -> None:
    folder = folder_of("digits", tmp_path)
    digits = load_digits()
    assert [path.name for path in sorted(folder.iterdir())] == list("0123456789")
    assert len(files(folder)) == 1797
    for i in (0, 1000, 1796):
        image = Image.open(folder / str(digits.target[i]) / f"{i:05}.png")
        assert image.mode == "L"
        np.testing.assert_allclose(np.asarray(image), digits.images[i] * 255 / 16, atol=0.5)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[str, np.ndarray]:
    """A data set of Keras with two training images of each class and one test image; (name, training images)."""
    name, count = request.param, NUM_CLASSES[request.param]
    labels = np.repeat(np.arange(count, dtype=np.uint8), 3)
    colour = name.startswith("cifar")
    images = noise(3 * count, *((32, 32, 3) if colour else (28, 28)))
    targets = labels[:, None] if colour else labels  # CIFAR's labels are (N, 1)
    test = np.arange(3 * count) % 3 == 2
    train = (images[~test], targets[~test])
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: (train, (images[test], targets[test])))
    return name, images[~test]


@pytest.mark.parametrize("tiny", NUM_CLASSES, indirect=True)
def test_a_data_set_of_keras_keeps_its_split_and_its_pixels(tmp_path: Path, tiny: tuple[str, np.ndarray]) -> None:
    name, images = tiny
    folder, class_names = folder_of(name, tmp_path), DATA_SETS[name].class_names
    assert len(set(class_names)) == NUM_CLASSES[name]
    for split, each in (("train", 2), ("test", 1)):
        assert {path.name for path in (folder / split).iterdir()} == set(class_names)
        assert all(len(files(folder / split / class_name)) == each for class_name in class_names)
    np.testing.assert_array_equal(Image.open(folder / "train" / class_names[1] / "00002.png"), images[2])


@pytest.mark.parametrize(
    ("name", "label", "class_name"),
    [
        ("mnist", 7, "7"),
        ("fashion_mnist", 0, "t-shirt"),
        ("fashion_mnist", 9, "ankle boot"),
        ("cifar10", 3, "cat"),
        ("cifar10", 9, "truck"),
        ("cifar100", 0, "apple"),
        ("cifar100", 19, "cattle"),
        ("cifar100", 53, "orange"),
        ("cifar100", 99, "worm"),
    ],
)
def test_a_label_has_the_name_that_the_data_sets_authors_gave_it(name: str, label: int, class_name: str) -> None:
    assert DATA_SETS[name].class_names[label] == class_name


def test_class_names_are_folder_names() -> None:
    for data_set in DATA_SETS.values():
        assert all(name == name.lower() and "/" not in name and name.isprintable() for name in data_set.class_names)
    assert sorted(DATA_SETS["cifar100"].class_names) == list(DATA_SETS["cifar100"].class_names)


def test_digits_are_not_mirrored_and_say_how_they_are_drawn() -> None:
    assert {name for name, data_set in DATA_SETS.items() if not data_set.mirrors} == {"digits", "mnist"}
    for name in ("digits", "mnist"):
        assert json.loads(json.dumps(DATA_SETS[name].drawing)) == DATA_SETS[name].drawing


def test_a_data_set_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of("digits", tmp_path)
    monkeypatch.setattr(datasets, "write_images", lambda *_: pytest.fail("written again"))
    assert folder_of("digits", tmp_path) == folder


def test_a_write_that_fails_leaves_no_half_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(datasets, "write_images", fail)
    with pytest.raises(OSError, match="No space"):
        folder_of("digits", tmp_path)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_of_two_writers_at_once_the_second_yields(tmp_path: Path) -> None:
    for name in ("staging", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    move_into_place(tmp_path / "staging", tmp_path / "target")
    assert (tmp_path / "target" / "file").read_text() == "target"
    with pytest.raises(FileNotFoundError):
        move_into_place(tmp_path / "nowhere", tmp_path / "new")
