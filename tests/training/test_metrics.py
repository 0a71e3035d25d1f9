"""Figures against ones worked out by hand."""

import json
import math

import numpy as np
import pytest

from training.metrics import calibrate, expected_calibration_error, measure, softmax

NAMES = ("cat", "dog", "bird")
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],  # cat, taken for cat
        [0.2, 0.7, 0.1],  # cat, taken for dog
        [0.1, 0.6, 0.3],  # dog, taken for dog
        [0.3, 0.5, 0.2],  # dog, taken for dog
    ]
)
LABELS = np.array([0, 0, 1, 1])


def test_measure_agrees_with_pencil_and_paper() -> None:
    metrics = measure(PROBABILITIES, LABELS, NAMES)
    assert metrics["num_images"] == 4
    assert metrics["accuracy"] == 0.75
    assert metrics["balanced_accuracy"] == 0.75  # (1/2 + 2/2) / 2: there is no bird to recall
    assert metrics["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    expected = -(math.log(0.8) + math.log(0.2) + math.log(0.6) + math.log(0.5)) / 4
    assert metrics["negative_log_likelihood"] == pytest.approx(expected)


def test_recall_and_precision_of_each_class_are_none_where_there_is_none() -> None:
    per_class = measure(PROBABILITIES, LABELS, NAMES)["per_class"]
    assert per_class["cat"] == {"recall": 0.5, "precision": 1.0, "num_images": 2}
    assert per_class["dog"] == {"recall": 1.0, "precision": pytest.approx(2 / 3), "num_images": 2}
    assert per_class["bird"] == {"recall": None, "precision": None, "num_images": 0}


def test_balanced_accuracy_weighs_classes_and_accuracy_weighs_images() -> None:
    labels = np.array([0] * 9 + [1])
    always_cat = np.tile([0.9, 0.1], (10, 1))
    metrics = measure(always_cat, labels, ("cat", "dog"))
    assert metrics["accuracy"] == 0.9
    assert metrics["balanced_accuracy"] == 0.5


def test_metrics_are_json() -> None:
    metrics = measure(PROBABILITIES, LABELS, NAMES)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    metrics = measure(np.array([[0.0, 1.0]]), np.array([0]), ("cat", "dog"))
    assert metrics["negative_log_likelihood"] == pytest.approx(-math.log(1e-12))


def test_calibration_error_is_the_distance_of_confidence_from_accuracy() -> None:
    """Bins of 1/15: 0.9 and 0.91 share one (2 images, 1 right), 0.6 is alone (right)."""
    probabilities = np.array([[0.9, 0.1], [0.91, 0.09], [0.6, 0.4]])
    expected = (abs(1 - 1.81) + abs(1 - 0.6)) / 3
    assert expected_calibration_error(probabilities, np.array([0, 1, 0])) == pytest.approx(expected)


def test_a_confidence_that_holds_has_no_calibration_error() -> None:
    probabilities = np.tile([0.75, 0.25], (400, 1))
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1] * 100)) == pytest.approx(0)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


def test_softmax_is_of_float64_and_bears_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[0.0, math.log(3)]], np.float32)), [[0.25, 0.75]])
    np.testing.assert_allclose(softmax(np.array([[1e5, 0.0], [-1e5, 0.0]], np.float32)), [[1, 0], [0, 1]])
    np.testing.assert_allclose(softmax(np.array([[0.0, 2 * math.log(3)]]), 2.0), [[0.25, 0.75]])


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7, 3.0])
def test_calibrate_recovers_the_temperature_that_made_the_labels(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 5))
    chances = softmax(logits, temperature)
    labels = (chances.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert calibrate(logits, labels) == pytest.approx(temperature, rel=0.04)


def test_a_split_without_a_mistake_does_not_make_the_model_infinitely_sure() -> None:
    assert calibrate(np.array([[5.0, 0.0], [0.0, 5.0]]), np.array([0, 1])) == 0.5


@pytest.mark.parametrize(("counts", "headline"), [((50, 10), "accuracy"), ((51, 10), "balanced_accuracy")])
def test_balanced_accuracy_is_the_headline_where_classes_are_skewed(counts: tuple[int, int], headline: str) -> None:
    labels = np.repeat([0, 1], counts)
    metrics = measure(np.tile([0.9, 0.1], (len(labels), 1)), labels, ("cat", "dog"))
    assert metrics["headline"] == headline
    assert metrics["balanced_accuracy"] == 0.5 < metrics["accuracy"]
