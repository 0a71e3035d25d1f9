"""The last layer as a logistic regression: what it learns, and what it does with few images."""

from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from models.bundle.manifest import read_manifest
from models.errors import UserError
from models.networks.registry import build
from tests.images import shades, write_folder
from tests.training.decoded import decoded_images, separable
from training.cli.app import main
from training.data.decoded import DecodedImages
from training.data.split import Split
from training.evaluate.calibration import softmax
from training.evaluate.predict import logits_of
from training.fit.frozen import Frozen
from training.fit.head import STRENGTHS, Examples, before_last_layer, best_by_folds, fit_head, full

NONE = np.empty(0, np.int64)


@pytest.fixture
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("basic_cnn", input_shape=(32, 32, 1), num_classes=3)


def three_shades(count: int = 60) -> DecodedImages:
    labels = np.arange(count) % 3
    noise = np.random.default_rng(0).integers(0, 60, (count, 32, 32, 1), dtype=np.uint8)
    return decoded_images(noise + (90 * labels[:, None, None, None]).astype(np.uint8), labels)


def accuracy(network: keras.Model, decoded: DecodedImages, rows: np.ndarray) -> float:
    return float((logits_of(network, decoded.images, rows, 32).argmax(axis=1) == decoded.labels[rows]).mean())


@pytest.mark.parametrize("mirrors", [False, True])
@pytest.mark.parametrize("validated", [False, True])
def test_random_features_tell_three_shades_apart(network: keras.Model, *, mirrors: bool, validated: bool) -> None:
    decoded = three_shades()
    train, others = np.arange(42), np.arange(42, 60)
    head = fit_head(network, decoded, Split(train, others if validated else NONE, others), mirrors=mirrors)
    assert head.strength in STRENGTHS
    assert ("val_accuracy" in head.history) == validated
    assert head.history["accuracy"] == [accuracy(network, decoded, train)]
    assert head.out_of_fold is not None
    assert head.out_of_fold.shape == (42, 3)
    assert accuracy(network, decoded, others) > 0.9


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_layer_answers_as_the_regression_does(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), np.arange(40) % num_classes
    regression = LogisticRegression().fit(x, y)
    kernel, bias = full(regression, num_classes)
    np.testing.assert_allclose(softmax(x @ kernel + bias, 1.0), regression.predict_proba(x), atol=1e-6)


def test_a_class_without_training_images_is_never_answered(network: keras.Model) -> None:
    decoded = three_shades()
    train = np.flatnonzero(decoded.labels < 2)
    fit_head(network, decoded, Split(train, NONE, NONE), mirrors=False)
    answers = softmax(logits_of(network, decoded.images, np.arange(60), 32), 1.0)
    assert answers[:, 2].max() < 1e-3
    assert accuracy(network, decoded, train) == 1


@pytest.mark.parametrize("mirrors", [False, True])
@pytest.mark.parametrize("train", [np.array([0, 1, 2, 4]), np.array([0, 1, 2])])
def test_one_image_of_a_class_is_enough(network: keras.Model, train: np.ndarray, *, mirrors: bool) -> None:
    decoded = three_shades()
    fit_head(network, decoded, Split(train, NONE, NONE), mirrors=mirrors)
    assert accuracy(network, decoded, train) == 1


def test_images_of_one_class_are_refused(network: keras.Model) -> None:
    with pytest.raises(UserError, match="two classes or more"):
        fit_head(network, three_shades(), Split(np.array([0, 3]), NONE, NONE), mirrors=False)


def test_heavier_classes_win_where_features_say_nothing() -> None:
    labels = np.arange(40) % 2
    decoded = decoded_images(np.full((40, 32, 32, 1), 128, np.uint8), labels)
    network = build("basic_cnn", input_shape=(32, 32, 1), num_classes=2)
    fit_head(network, decoded, Split(np.arange(40), NONE, NONE), mirrors=False, weights=np.array([1.0, 3.0]))
    answers = softmax(logits_of(network, decoded.images, np.arange(1), 32), 1.0)
    np.testing.assert_allclose(answers, [[0.25, 0.75]], atol=0.01)


def test_a_mirror_image_is_left_out_together_with_its_image() -> None:
    """Else each image left out would be known by its copy, and the weakest penalty would always win."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 100)), np.arange(60) % 2
    x, y = np.concatenate([x, x]), np.tile(y, 2)
    together = best_by_folds(Examples(x, y, None, np.tile(np.arange(60), 2)), 60, 2)
    apart = best_by_folds(Examples(x, y, None, np.arange(120)), 60, 2)
    assert together.strength < apart.strength
    assert together.loss > apart.loss


def test_logits_out_of_fold_are_of_regressions_that_have_not_seen_the_image() -> None:
    """Labels without any pattern are known by heart where an image is learnt from, and guessed where it is not."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 100)), rng.integers(0, 2, 60)
    logits = best_by_folds(Examples(x, y, None, np.arange(60)), 60, 2).out_of_fold
    assert logits is not None
    assert 0.25 < (logits.argmax(axis=1) == y).mean() < 0.75


def test_many_validation_images_choose_without_cross_validation(
    network: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.head.FEWEST_TO_CHOOSE_BY", 10)
    head = fit_head(network, three_shades(), Split(np.arange(42), np.arange(42, 60), NONE), mirrors=False)
    assert head.out_of_fold is None


def slopes(count: int = 60) -> DecodedImages:
    """Images that are brighter on one side, the one of their class: the mirror image of each is of the other class."""
    labels = np.arange(count) % 2
    slope = np.linspace(0, 150, 32).astype(np.uint8) + np.zeros((count, 32, 1), np.uint8)
    slope[labels == 1] = slope[labels == 1][:, :, ::-1]
    noise = np.random.default_rng(0).integers(0, 60, (count, 32, 32), dtype=np.uint8)
    return decoded_images((noise + slope)[..., None], labels)


def flattened() -> keras.Model:
    images = keras.Input((32, 32, 1), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, keras.layers.Dense(2, name="logits")(x))


@pytest.mark.parametrize("validated", [False, True])
def test_mirror_images_that_look_like_another_class_are_not_learnt_from(
    monkeypatch: pytest.MonkeyPatch, *, validated: bool
) -> None:
    """Mirrored digits made the head of digits right on 75 % of others instead of 84 %."""
    monkeypatch.setattr("training.fit.head.FEWEST_TO_CHOOSE_BY", 10 if validated else 500)
    network, decoded = flattened(), slopes()
    head = fit_head(network, decoded, Split(np.arange(30), np.arange(30, 45), NONE), mirrors=True)
    assert not head.mirrored
    assert accuracy(network, decoded, np.arange(45, 60)) == 1


def test_a_feature_that_hardly_differs_does_not_decide_about_other_images() -> None:
    """Where training images are all but equal in a feature, other images had logits of hundreds (of 358 here)."""
    labels = np.arange(60) % 2
    images = np.zeros((60, 32, 32, 1), np.uint8)
    images[:, :, :16] = (100 + 20 * labels + np.random.default_rng(0).integers(0, 40, 60))[:, None, None, None]
    images[:2, :, 16:] = [[[[1]]], [[[0]]]]
    images[40:, :, 16:] = 200 * (1 - labels[40:, None, None, None])
    network, decoded = flattened(), decoded_images(images, labels)
    fit_head(network, decoded, Split(np.arange(40), NONE, NONE), mirrors=False)
    assert np.abs(logits_of(network, images, np.arange(40, 60), 20)).max() < 100


def test_features_are_what_the_last_layer_is_given(network: keras.Model) -> None:
    images = separable(8).images
    body = before_last_layer(network)
    (found,) = Frozen(body).of_all(images, np.arange(8))
    kernel, bias = network.get_layer("logits").get_weights()
    np.testing.assert_allclose(found @ kernel + bias, logits_of(network, images, np.arange(8), 8), atol=0.02)
    (mirrored,) = Frozen(body).of_all(images[:, :, ::-1], np.arange(8), mirrored=True)
    np.testing.assert_array_equal(found, mirrored)


def striate(*arguments: object) -> str:
    said = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert said.exit_code == 0, said.output
    return said.output


def test_a_head_is_trained_on_a_bundle_and_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "photos", {"dark": shades(30, 0, 100), "light": shades(30, 150, 250)})
    common = ("--data", tmp_path / "photos", "--name", "toy", "--size", 32)
    striate("fit", *common, "--model", "basic_cnn", "--epochs", 1)
    (first,) = (tmp_path / "runs").glob("toy-*")
    said = striate("fit", *common, "--from", first, "--train", "head", "--publish")
    assert "last layer fitted, C = " in said
    manifest = read_manifest(tmp_path / "exports" / "toy" / "1")
    assert manifest.lineage["settings"]["train"] == "head"
