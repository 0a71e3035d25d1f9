"""What a model's numbers are is measured."""

import numpy as np
import pytest
from scipy import special

from training.preprocessing.outputs import (
    OutputFacts,
    UnknownModel,
    choose_output,
    describe_output,
    logits_of,
    probabilities_of,
)

LOGITS = np.random.default_rng(0).normal(0, 3, (16, 5))
SOFTMAX = special.softmax(LOGITS, axis=1)


@pytest.mark.parametrize(
    ("output", "numbers", "num_classes"),
    [
        (LOGITS, "logits", 5),
        (np.log(SOFTMAX), "logits", 5),  # of log_softmax, whose softmax is the same
        (SOFTMAX.astype(np.float16), "probabilities", 5),
        (special.expit(LOGITS), "independent probabilities", 5),
        (special.expit(LOGITS[:, :1]), "one probability", 2),
        (LOGITS[:, :1], "one logit", 2),
    ],
)
def test_what_numbers_are_is_measured(output: np.ndarray, numbers: str, num_classes: int) -> None:
    about = describe_output(output)
    assert (about.numbers, about.num_classes) == (numbers, num_classes)
    probabilities = probabilities_of(output, about)
    assert probabilities.shape == (16, num_classes)
    if numbers != "independent probabilities":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=2e-3)
        np.testing.assert_allclose(special.softmax(logits_of(output, about), axis=1), probabilities, atol=2e-3)
    else:
        np.testing.assert_allclose(special.expit(logits_of(output, about)), probabilities, atol=1e-9)


@pytest.mark.parametrize("output", [np.maximum(LOGITS, 0), LOGITS / np.linalg.norm(LOGITS, axis=1, keepdims=True)])
def test_features_are_no_classes(output: np.ndarray) -> None:
    with pytest.raises(UnknownModel, match="5 numbers that are no classes"):
        describe_output(output)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(UnknownModel, match="not finite"):
        describe_output(LOGITS * np.inf)


def test_of_several_outputs_that_with_the_classes_is_taken() -> None:
    outputs = {
        "classes": np.zeros(16, np.int64),
        "logits": LOGITS.astype(np.float32),
        "probabilities": SOFTMAX.astype(np.float32),
        "names": np.full((16, 5), b"cat", object),
    }
    assert choose_output(outputs) == "probabilities"


def test_boxes_and_masks_are_refused_with_what_came() -> None:
    with pytest.raises(UnknownModel, match=r"answers with boxes: float32 \('\?', 100, 4\).* not served"):
        choose_output({"boxes": np.zeros((16, 100, 4), np.float32)})


def test_names_of_another_number_than_the_classes_are_not_taken() -> None:
    assert describe_output(LOGITS, names=("cat", "dog")) == OutputFacts("logits", 5)
