"""Striate from Python: training as the command does, and answers as the service gives them."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import striate
from models.bundle.manifest import read_golden
from tests.bundles import edit_manifest
from tests.conftest import Training
from tests.images import two_shades, write_folder


@pytest.fixture(scope="module")
def digits(digits_training: Training) -> striate.Classifier:
    return striate.load(digits_training.run, precision="float32")


@pytest.fixture(scope="module")
def golden(digits_training: Training) -> list[tuple[bytes, list[float]]]:
    """Images of a bundle, and the probabilities that are stored with them."""
    return list(read_golden(digits_training.run / "bundle"))


def test_a_bundle_answers_as_its_network_did(
    digits: striate.Classifier, golden: list[tuple[bytes, list[float]]]
) -> None:
    answers = digits.probabilities(data for data, _ in golden)
    np.testing.assert_allclose(answers, [row for _, row in golden], atol=1e-4)
    first = digits.classify(golden[0][0], top_k=3)
    assert first.label == digits.class_names[int(np.argmax(golden[0][1]))]
    assert first.labels == (first.label,)
    assert len(first.top) == 3
    assert first.probability == pytest.approx(max(golden[0][1]), abs=1e-4)


def test_an_image_can_be_a_path_bytes_a_pillow_image_or_an_array(
    digits: striate.Classifier, golden: list[tuple[bytes, list[float]]], tmp_path: Path
) -> None:
    data = golden[0][0]
    path = tmp_path / "digit.png"
    path.write_bytes(data)
    picture = Image.open(io.BytesIO(data))
    pixels = np.asarray(picture)
    answers = digits.probabilities([data, path, str(path), picture, pixels, pixels[..., None]])
    assert answers.shape == (6, 10)
    assert (answers == answers[0]).all()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"no image", "Image 0: "),
        ("nowhere.png", "nowhere.png: "),
        (np.zeros((8, 8), np.float32), "an array of float32 is no image; give uint8"),
        (np.zeros((2, 2, 2, 2), np.uint8), "Image 0: "),
        (7, "int is no image; give a path"),
    ],
)
def test_what_is_no_image_is_refused_with_its_name(digits: striate.Classifier, image: object, said: str) -> None:
    with pytest.raises(striate.UserError, match=f"(?i){said}"):
        digits.classify(image)  # type: ignore[arg-type]


def test_no_images_have_no_answers(digits: striate.Classifier) -> None:
    assert digits.probabilities([]).shape == (0, 10)
    assert digits.classify_all([]) == []


def test_a_model_with_several_labels_an_image_names_those_above_its_threshold(
    digits_training: Training, tmp_path: Path
) -> None:
    bundle = shutil.copytree(digits_training.run / "bundle", tmp_path / "tags")
    edit_manifest(bundle, task="multi_label", threshold=0.05)
    answer = striate.load(bundle).classify(np.tile(np.arange(0, 128, 4, dtype=np.uint8), (32, 1)), top_k=10)
    assert answer.labels == tuple(top.label for top in answer.top if top.probability >= 0.05)
    assert len(answer.labels) > 1


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(striate.UserError, match="There is no folder"):
        striate.load(tmp_path / "none")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {name: tmp_path / name for name in ("runs", "exports", "cache")}


def test_training_gives_a_run_that_can_be_loaded_and_published(tmp_path: Path, places: dict[str, Path]) -> None:
    data = write_folder(tmp_path / "data", two_shades(40))
    flags = {"model": "lenet5", "epochs": 3, "size": 32, "dropout": 0.0, "flip": False, "progress": "quiet"}
    run = striate.train(data, "shades", publish=True, **flags, **places)
    assert run.folder.parent == places["runs"]
    assert run.version == 1
    assert run.metrics["num_images"] > 0
    classifier = run.load()
    assert (classifier.model, repr(classifier)[:20]) == ("shades", "<Classifier shades: ")
    assert (places["exports"] / "shades" / "1").is_dir()


def test_a_model_that_has_not_learnt_anything_is_trained_and_not_published(
    tmp_path: Path, places: dict[str, Path]
) -> None:
    data = write_folder(tmp_path / "data", two_shades(40))
    flags = {"model": "lenet5", "epochs": 1, "learning_rate": 1e-9, "size": 32, "progress": "quiet"}
    with pytest.raises(striate.NotPublished, match="The run is in"):
        striate.train(data, "shades", publish=True, **flags, **places)
    assert not (places["exports"] / "shades").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epoch": 3}, "No such option '--epoch'"),
        ({"epochs": "three"}, "'three' is not a valid integer"),
        ({"start": "nowhere"}, "nowhere"),
    ],
)
def test_a_wrong_setting_is_refused_as_the_command_does(
    settings: dict[str, object], said: str, tmp_path: Path, places: dict[str, Path]
) -> None:
    data = write_folder(tmp_path / "data", two_shades(10))
    with pytest.raises(striate.UserError, match=said):
        striate.train(data, "shades", **settings, **places)
