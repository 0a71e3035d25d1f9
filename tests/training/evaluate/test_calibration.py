"""The temperature: what it is fitted on, and that it is sound where there is little to fit it on."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.decoded import decoded_images, separable
from training.augment.loader import TrainingBatches
from training.config.augmentation import Augmentation
from training.config.settings import Settings
from training.data.split import Split
from training.evaluate import calibration
from training.evaluate.calibration import first_resting_epoch, fit_temperature, resting_rows, softmax
from training.fit.fit import fit
from training.fit.options import FitOptions

NOTHING = Augmentation(flip=False, shift=0, contrast=0, brightness=0)
NONE = np.arange(0)


def test_softmax_is_of_float64_and_bears_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[0.0, math.log(3)]], np.float32)), [[0.25, 0.75]])
    np.testing.assert_allclose(softmax(np.array([[1e5, 0.0], [-1e5, 0.0]], np.float32)), [[1, 0], [0, 1]])
    np.testing.assert_allclose(softmax(np.array([[0.0, 2 * math.log(3)]]), 2.0), [[0.25, 0.75]])


@pytest.mark.parametrize("temperature", [0.2, 0.6, 1.0, 1.7, 5.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 5))
    chances = softmax(logits, temperature)
    labels = (chances.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize(("num_images", "surest"), [(2, 0.876), (200, 0.9976)])
def test_images_without_a_mistake_make_the_model_as_sure_as_their_number_allows(
    num_images: int, surest: float, caplog: pytest.LogCaptureFixture
) -> None:
    """As if one more image were classified by chance: 1 - 1 / (N + 2) + half of that by chance."""
    labels = np.arange(num_images) % 2
    logits = np.where(np.eye(2)[labels] == 1, 5.0, 0.0)
    confidence = softmax(logits, fit_temperature(logits, labels))[0].max()
    assert confidence == pytest.approx(surest, abs=2e-3)
    assert not caplog.records


def test_a_temperature_at_the_end_of_the_search_is_an_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Logits a thousand times too large, and labels that they have nothing to do with."""
    logits = np.random.default_rng(0).normal(0, 1000, (500, 5))
    with caplog.at_level(logging.ERROR):
        assert fit_temperature(logits, np.arange(500) % 5) == pytest.approx(20, rel=0.02)
    assert "lies at the end of the range that is searched, 0.05 to 20" in caplog.text


def test_without_validation_a_part_of_the_training_images_rests_in_the_last_epochs() -> None:
    images = np.arange(4000, dtype=np.uint16).view(np.uint8).reshape(4000, 1, 2, 1)
    decoded = decoded_images(images, np.arange(4000) % 2)
    rows = np.arange(4000)
    resting = resting_rows(decoded, Split(rows, NONE, NONE))
    assert len(resting) == 200
    assert not len(resting_rows(decoded, Split(rows[100:], rows[:100], NONE))), "validation serves"
    assert not len(resting_rows(decoded, Split(rows[:1000], NONE, NONE))), "too few to be worth it"
    more = Split(np.concatenate([rows[:3999], [3999]]), NONE, NONE)
    np.testing.assert_array_equal(resting_rows(decoded, more), resting)


def test_near_duplicates_rest_together_and_a_large_group_of_them_does_not_rest() -> None:
    images = np.arange(4000, dtype=np.uint16).view(np.uint8).reshape(4000, 1, 2, 1)
    decoded = decoded_images(images, np.arange(4000) % 2)
    decoded.files["group"] = np.where(np.arange(4000) < 2000, np.arange(4000) // 4 * 4, 2000)
    resting = resting_rows(decoded, Split(np.arange(4000), NONE, NONE))
    groups, sizes = np.unique(decoded.files["group"][resting], return_counts=True)
    assert (len(resting), set(sizes.tolist()), 2000 in groups) == (200, {4}, False)


@pytest.mark.parametrize(("epochs", "first"), [(1, 0), (3, 2), (10, 7), (30, 21)])
def test_images_rest_in_the_last_three_tenths_of_the_epochs(epochs: int, first: int) -> None:
    assert first_resting_epoch(epochs) == first


def test_images_that_rest_are_trained_on_before_and_every_epoch_has_as_many_steps() -> None:
    decoded = decoded_images(np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), np.arange(100) % 3)
    resting = np.arange(80, 100)
    batches = TrainingBatches(
        decoded, np.arange(100), batch_size=8, seed=0, augmentation=NOTHING, resting=resting, rest_from=2
    )
    seen = [{row for step in range(len(batches)) for row in batches.rows(epoch, step)} for epoch in range(4)]
    assert [len(rows) for rows in seen] == [80] * 4
    assert all(rows & set(resting.tolist()) for rows in seen[:2])
    assert not any(rows & set(resting.tolist()) for rows in seen[2:])


@pytest.mark.parametrize(("fewest", "method", "num_images"), [(3, "resting training images", 6), (7, "none", 0)])
def test_a_run_without_validation_says_what_its_confidence_is_fitted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fewest: int, method: str, num_images: int
) -> None:
    monkeypatch.setattr(calibration, "FEWEST_RESTING", fewest)
    monkeypatch.setattr(calibration, "LARGEST_RESTING_GROUP", 2)
    decoded, everything = separable(128), np.arange(128)
    settings = Settings(
        "lenet5", learning_rate=0.02, epochs=3, batch_size=16, augmentation=NOTHING, precision="float32"
    )
    settings = replace(settings, label_smoothing=0.2, patience=0)
    trained = fit(decoded, Split(everything, NONE, NONE), settings, tmp_path, FitOptions())
    assert trained.metrics["calibration"] == {"method": method, "num_images": num_images}
    assert (trained.calibration.temperature == 1.0) == (method == "none")
