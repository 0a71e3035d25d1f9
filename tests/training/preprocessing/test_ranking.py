"""The ranking of preprocessings: sure where the labels tell, and unsure where they do not."""

import numpy as np
import pytest

from training.preprocessing.ranking import rank
from training.preprocessing.scalings import contrast_of

LABELS = np.arange(40) % 4


def logits(right: int, *, seed: int, sharpness: float = 4.0) -> np.ndarray:
    """float64 (40, 4): of a network that takes so many of the images for what they are."""
    generator = np.random.default_rng(seed)
    answers = LABELS.copy()
    wrong = generator.permutation(len(LABELS))[right:]
    answers[wrong] = (LABELS[wrong] + generator.integers(1, 4, len(wrong))) % 4
    found: np.ndarray = generator.normal(0, 1, (len(LABELS), 4))
    found[np.arange(len(LABELS)), answers] += sharpness
    return found


def test_the_candidate_whose_answers_the_labels_bear_out_is_the_best() -> None:
    ranking = rank({"signed": logits(37, seed=0), "unit": logits(15, seed=1), "none": logits(10, seed=2)}, LABELS, str)
    assert ranking.sure
    assert ranking.best.name == "signed"
    assert ranking.best.accuracy == pytest.approx(37 / 40)


def test_a_network_that_is_much_too_sure_is_not_taken_for_a_wrong_one() -> None:
    ranking = rank({"right": 50 * logits(32, seed=0), "wrong": 0.01 * logits(12, seed=1)}, LABELS, str)
    assert ranking.best.name == "right"


def test_more_contrast_does_not_win_by_making_a_network_surer() -> None:
    plain = logits(36, seed=0)
    doubled = 2 * plain + np.random.default_rng(1).normal(0, 0.4, plain.shape)
    assert rank({"signed": doubled, "unit": plain}, LABELS, str).best.name == "unit"


def test_of_contrasts_that_give_the_same_classes_the_one_with_better_probabilities_is_taken() -> None:
    plain = logits(36, seed=0)
    assert rank({"none": 255 * plain, "unit": plain + 0.1}, LABELS, str).best.name == "unit"


def test_of_two_orders_of_the_channels_that_know_as_many_labels_the_more_decided_one_is_right() -> None:
    right = logits(36, seed=0)
    exchanged = logits(36, seed=0, sharpness=2.5)
    ranking = rank({"unit-bgr": exchanged, "unit": right}, LABELS, contrast_of)
    assert ranking.best.name == "unit"
    assert ranking.candidates[1].distance > 4


def test_candidates_that_answer_alike_count_as_one() -> None:
    right = logits(36, seed=0)
    ranking = rank({"signed": right, "127": right + 1e-3, "none": logits(10, seed=2)}, LABELS, str)
    assert ranking.sure
    assert [each.same for each in ranking.candidates] == [True, True, False]


@pytest.mark.parametrize(
    ("answers", "images"),
    [
        ({"a": logits(30, seed=0), "b": logits(29, seed=5)}, 40),  # nearly as good, and other answers
        ({"a": logits(40, seed=0), "b": logits(10, seed=1)}, 8),  # too few images
        ({"a": logits(8, seed=0), "b": logits(7, seed=1)}, 40),  # neither is better than chance
    ],
)
def test_it_is_not_sure_where_the_labels_do_not_tell(answers: dict[str, np.ndarray], images: int) -> None:
    assert not rank({name: each[:images] for name, each in answers.items()}, LABELS[:images], str).sure


def test_a_constant_answer_is_not_better_than_chance() -> None:
    constant = np.tile([1.0, 0, 0, 0], (40, 1))
    assert not rank({"a": constant, "b": constant * 2}, LABELS, str).sure
