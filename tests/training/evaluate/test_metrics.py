"""Figures against ones worked out by hand."""

import csv
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from tests.training.predictions import read_predictions
from training.evaluate.calibration import softmax
from training.evaluate.metrics import expected_calibration_error, interval, measure
from training.evaluate.predictions import Predictions

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
TABLE = Predictions(NAMES, [f"{i}.png" for i in range(4)], LABELS, PROBABILITIES)


def measured(probabilities: np.ndarray, labels: np.ndarray, *names: str) -> dict[str, Any]:
    """Of cats and dogs, unless classes are named."""
    return measure(Predictions(names or ("cat", "dog"), [""] * len(labels), labels, probabilities))


def test_measure_agrees_with_pencil_and_paper() -> None:
    metrics = measure(TABLE)
    assert metrics["num_images"] == 4
    assert metrics["accuracy"] == 0.75
    assert metrics["balanced_accuracy"] == 0.75  # (1/2 + 2/2) / 2: there is no bird to recall
    assert metrics["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    expected = -(math.log(0.8) + math.log(0.2) + math.log(0.6) + math.log(0.5)) / 4
    assert metrics["negative_log_likelihood"] == pytest.approx(expected)


def test_recall_and_precision_of_each_class_are_none_where_there_is_none() -> None:
    per_class = measure(TABLE)["per_class"]
    figures = {name: [row[figure] for figure in ("recall", "precision", "f1")] for name, row in per_class.items()}
    assert figures["cat"] == [0.5, 1.0, pytest.approx(2 / 3)]
    assert figures["dog"] == [1.0, pytest.approx(2 / 3), pytest.approx(0.8)]
    assert figures["bird"] == [None, None, None]
    assert [row["num_images"] for row in per_class.values()] == [2, 2, 0]
    assert per_class["bird"]["recall_interval"] is None


def test_intervals_are_wilsons() -> None:
    """Those of a published table: 81 of 263, and none of 20."""
    assert interval(81, 263) == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert interval(0, 20) == pytest.approx([0, 0.1611], abs=1e-4)
    assert interval(20, 20) == pytest.approx([0.8389, 1], abs=1e-4)


def test_what_a_test_split_can_show_shrinks_with_the_root_of_its_images() -> None:
    """A thousand images and models that differ on 5 % of them: 1.98 points, found four times in five."""
    thousand = np.tile([0.9, 0.1], (1000, 1))
    assert measured(thousand, np.zeros(1000, int))["resolvable_difference"] == pytest.approx(0.0198, abs=1e-4)


def test_the_label_may_be_among_the_first_five() -> None:
    names = tuple("abcdefg")
    probabilities = np.tile(np.array([0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05]), (4, 1))
    assert measured(probabilities, np.array([0, 4, 5, 6]), *names)["top_5_accuracy"] == 0.5
    assert "top_5_accuracy" not in measure(TABLE)


def test_the_table_comes_back_from_its_file_to_the_last_digit(tmp_path: Path) -> None:
    odd = ["a,b.png", 'say "cat".png', "two\nlines.png", "größe 猫.png"]
    rng = np.random.default_rng(0)
    table = Predictions(("cat, big", "dog", "p:bird"), odd, LABELS, softmax(rng.normal(size=(4, 3))))
    table.write(tmp_path / "predictions.csv")
    again = read_predictions(tmp_path / "predictions.csv")
    assert (again.class_names, list(again.paths)) == (table.class_names, odd)
    np.testing.assert_array_equal(again.probabilities, table.probabilities)
    assert measure(again) == measure(table)


def many_classes(count: int) -> Predictions:
    """Of 5 images and as many classes."""
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(size=(5, count)))
    return Predictions(tuple(f"class {i}" for i in range(count)), list("abcde"), np.arange(5), probabilities)


def test_the_table_of_many_classes_has_the_five_most_probable_ones_and_the_label(tmp_path: Path) -> None:
    table = many_classes(1000)
    table.write(tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows[0]) == 4 + 1 + 2 * 5
    for i, row in enumerate(rows):
        order = np.argsort(-table.probabilities[i])[:5]
        assert [row[f"top{j}"] for j in range(1, 6)] == [table.class_names[c] for c in order]
        assert [float(row[f"p{j}"]) for j in range(1, 6)] == table.probabilities[i, order].tolist()
        assert float(row["label_probability"]) == table.probabilities[i, i]
        assert (row["predicted"], row["confidence"]) == (row["top1"], row["p1"])


def test_twenty_classes_have_a_column_each_and_one_more_have_not(tmp_path: Path) -> None:
    for count, columns in ((20, 4 + 20), (21, 15)):
        many_classes(count).write(tmp_path / "predictions.csv")
        header = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()[0]
        assert header.count(",") + 1 == columns


def test_parquet_has_every_class_to_the_last_digit(tmp_path: Path) -> None:
    table = replace(many_classes(30), paths=["a", "b", "c", "d", os.fsdecode(b"\xff.png")])
    table.write(tmp_path / "predictions.parquet")
    read = pyarrow.parquet.read_table(tmp_path / "predictions.parquet")
    shares = np.stack([read[f"p:{name}"].to_numpy() for name in table.class_names], axis=1)
    np.testing.assert_array_equal(shares, table.probabilities)
    assert read["image"].to_pylist() == ["a", "b", "c", "d", "\\udcff.png"]
    assert read["label"].to_pylist() == list(table.class_names[:5])
    np.testing.assert_array_equal(read["confidence"].to_numpy(), table.probabilities.max(axis=1))
    empty = Predictions(("cat", "dog"), [], np.empty(0, np.int64), np.empty((0, 2)))
    empty.write(tmp_path / "empty.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "empty.parquet").num_rows == 0


def test_balanced_accuracy_weighs_classes_and_accuracy_weighs_images() -> None:
    labels = np.array([0] * 9 + [1])
    always_cat = np.tile([0.9, 0.1], (10, 1))
    metrics = measured(always_cat, labels)
    assert metrics["accuracy"] == 0.9
    assert metrics["balanced_accuracy"] == 0.5


def test_metrics_are_json() -> None:
    metrics = measure(TABLE)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    metrics = measured(np.array([[0.0, 1.0]]), np.array([0]))
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


@pytest.mark.parametrize(("counts", "headline"), [((50, 10), "accuracy"), ((51, 10), "balanced_accuracy")])
def test_balanced_accuracy_is_the_headline_where_classes_are_skewed(counts: tuple[int, int], headline: str) -> None:
    labels = np.repeat([0, 1], counts)
    metrics = measured(np.tile([0.9, 0.1], (len(labels), 1)), labels)
    assert metrics["headline"] == headline
    assert metrics["balanced_accuracy"] == 0.5 < metrics["accuracy"]
