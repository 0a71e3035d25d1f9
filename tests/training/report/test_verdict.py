"""The verdict at the beginning of a report, in words."""

from typing import Any

import numpy as np
import pytest

from training.evaluate.metrics import measure
from training.evaluate.predictions import Predictions
from training.report.verdict import judge

NAMES = ("glass", "paper", "plastic")


def metrics(confusion: list[list[int]], confidence: float = 0.9, **known: Any) -> dict[str, Any]:
    """Of answers with this confusion matrix, each as confident as the others."""
    labels, answers = [], []
    for i, row in enumerate(confusion):
        for j, count in enumerate(row):
            labels += [i] * count
            answers += [j] * count
    probabilities = np.full((len(labels), 3), (1 - confidence) / 2)
    probabilities[np.arange(len(labels)), answers] = confidence
    paths = [f"{i}.png" for i in range(len(labels))]
    return {**measure(Predictions(NAMES, paths, np.array(labels), probabilities)), **known}


GOOD = [[27, 0, 3], [0, 30, 0], [3, 0, 27]]


def test_it_says_how_often_the_model_is_right_and_whether_that_is_better_than_guessing() -> None:
    verdict = judge(metrics(GOOD), {}, 0)
    assert verdict.found[0].startswith("It is right on 93% of 90 test images (86% to 97%): better than always saying")
    assert "which is right on 33%" in verdict.found[0]
    guessing = judge(metrics([[10, 10, 10]] * 3), {}, 0)
    assert "not certainly better than always saying 'glass'" in guessing.found[0]
    hopeless = judge(metrics([[0, 30, 0], [0, 0, 30], [30, 0, 0]]), {}, 0)
    assert "worse than always saying" in hopeless.found[0]


def test_it_names_the_two_classes_that_are_confused_most() -> None:
    assert "It confuses 'glass' with 'plastic' most: 6 of 60 images of the two." in judge(metrics(GOOD), {}, 0).found
    assert "It made no mistake." in judge(metrics([[9, 0, 0], [0, 9, 0], [0, 0, 9]]), {}, 0).found


def test_it_says_whether_confidence_can_be_believed() -> None:
    assert "Its confidence can be believed: it is off by 3 points on average." in judge(metrics(GOOD), {}, 0).found
    bold = judge(metrics(GOOD, confidence=0.5), {}, 0).found
    assert "Its confidence is off by 43 points on average; do not take it as a probability." in bold
    uncalibrated = metrics(GOOD, calibration={"method": "none", "num_images": 0})
    assert any("is not calibrated" in sentence for sentence in judge(uncalibrated, {}, 0).found)


def test_it_says_what_the_test_images_can_show() -> None:
    assert judge(metrics(GOOD), {}, 0).found[-1].startswith("90 test images can show differences between models of")


def test_a_class_far_behind_the_others_wants_images() -> None:
    weak = judge(metrics([[4, 6, 0], [0, 30, 0], [0, 0, 30]]), {}, 0)
    assert weak.to_do[0].startswith("Add images of 'glass': 40% (")
    assert weak.to_do[0].endswith("of its 10 test images were recognized.")
    assert judge(metrics(GOOD), {}, 0).to_do == []


def test_likely_wrong_labels_are_to_be_looked_at() -> None:
    assert judge(metrics(GOOD), {}, 7).to_do == [
        "Look at the 7 labels below that are likely wrong, and move the images to the right folders."
    ]


@pytest.mark.parametrize(
    ("history", "advice"),
    [
        ({"val_loss": [1 / (i + 1) for i in range(12)]}, "Train longer (--epochs)"),
        ({"val_loss": [1, 0.5, 0.4, 0.39, 0.41, 0.40, 0.42, 0.41, 0.40]}, ""),
        ({"learning_rate": [0.1, 0.1, *[1e-5] * 10]}, "in 10 of 12 epochs it was below 1 % of its peak"),
        ({"learning_rate": [0.1 * (1 - i / 10) for i in range(10)]}, ""),
        (
            {"accuracy": [0.5, 1.0], "val_accuracy": [0.5, 0.6]},
            "by heart: 100% of them are right, and 60% of",
        ),
        ({"accuracy": [0.5, 0.9], "val_accuracy": [0.5, 0.85]}, ""),
    ],
)
def test_the_curves_say_what_to_do_next(history: dict[str, list[float]], advice: str) -> None:
    said = judge(metrics(GOOD), history, 0).to_do
    assert (advice in said[0] and len(said) == 1) if advice else not said
