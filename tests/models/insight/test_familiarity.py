"""Unusual images are told from usual ones, and what a bundle keeps of that is read as it was written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle.manifest import BrokenBundle
from models.insight.familiarity import FAMILIARITY, UNUSUAL, Seen, entropy, learn, read

NUM_FEATURES = 12


def seen(count: int, *, seed: int, away: float = 0.0, odd: float = 0.0, sure: float = 20.0) -> Seen:
    """Of images in three groups of features.

    Args:
        away: how far their features are from all groups.
        odd: how far their pixels' figures are from the others', in standard deviations.
        sure: how sure the answers are.
    """
    generator = np.random.default_rng(seed)
    groups = 3 * np.eye(3, NUM_FEATURES)[generator.integers(0, 3, count)]
    features = groups + 0.3 * generator.standard_normal((count, NUM_FEATURES))
    features[:, -1] += away
    probabilities = generator.dirichlet([sure, 1, 1], count)
    figures = generator.standard_normal((count, 6)) + odd
    return Seen(figures, probabilities.astype(np.float32), features.astype(np.float32))


@pytest.fixture(scope="module")
def familiarity():
    return learn(seen(400, seed=0), seen(400, seed=1))


def test_one_usual_image_in_twenty_is_marked(familiarity) -> None:
    marked = familiarity.rank(seen(4000, seed=2)) > UNUSUAL
    assert 0.03 < marked.mean() < 0.08


@pytest.mark.parametrize("unusual", [{"away": 4.0}, {"odd": 4.0}, {"sure": 1.0}])
def test_unusual_features_pixels_and_answers_are_noticed(familiarity, unusual: dict[str, float]) -> None:
    assert np.mean(familiarity.rank(seen(200, seed=3, **unusual)) > UNUSUAL) > 0.5


def test_without_features_the_rest_is_compared_alone(familiarity) -> None:
    usual, odd = (replace(seen(2000, seed=4, odd=odd), features=None) for odd in (0.0, 4.0))
    assert 0.03 < np.mean(familiarity.rank(usual) > UNUSUAL) < 0.08
    assert np.mean(familiarity.rank(odd) > UNUSUAL) > 0.9


def test_a_network_without_features_is_known_by_answers_and_pixels() -> None:
    training, held_out = (replace(seen(300, seed=seed), features=None) for seed in (5, 6))
    found = learn(training, held_out)
    assert np.mean(found.rank(seen(200, seed=7, odd=4.0)) > UNUSUAL) > 0.9


def test_what_is_written_is_read_again(familiarity, tmp_path: Path) -> None:
    (tmp_path / FAMILIARITY).parent.mkdir()
    familiarity.write(tmp_path)
    found = read(tmp_path)
    assert found is not None
    images = seen(50, seed=8, away=1.0)
    assert np.allclose(found.rank(images), familiarity.rank(images), atol=1e-6)


def test_a_bundle_without_it_has_none_and_a_damaged_file_is_said(familiarity, tmp_path: Path) -> None:
    assert read(tmp_path) is None
    (tmp_path / FAMILIARITY).parent.mkdir()
    familiarity.write(tmp_path)
    content = (tmp_path / FAMILIARITY).read_bytes()
    for damaged in (content[: len(content) // 2], b"", content.replace(b"PK", b"KP")):
        (tmp_path / FAMILIARITY).write_bytes(damaged)
        with pytest.raises(BrokenBundle, match="damaged"):
            read(tmp_path)


def test_arrays_that_do_not_fit_together_are_refused(familiarity, tmp_path: Path) -> None:
    (tmp_path / FAMILIARITY).parent.mkdir()
    for wrong in ({"scale": np.ones(3)}, {"mean": np.zeros(5)}, {"surprises": np.zeros(7)}, {"known": np.ones((4, 2))}):
        replace(familiarity, **wrong).write(tmp_path)
        with pytest.raises(BrokenBundle, match="do not fit together"):
            read(tmp_path)


def test_images_that_are_all_alike_can_be_learnt_from_too() -> None:
    same = Seen(np.zeros((5, 6)), np.tile(np.float32([0.9, 0.1]), (5, 1)), np.zeros((5, 4), np.float32))
    found = learn(same, same)
    assert np.array_equal(found.rank(same), np.zeros(5))
    other = Seen(np.ones((1, 6)), np.float32([[0.5, 0.5]]), np.ones((1, 4), np.float32))
    assert found.rank(other) == 1.0


def test_the_entropy_of_an_answer_is_told_where_its_first_class_is_rounded_to_1() -> None:
    probabilities = np.array([[1.0, 1e-6], [0.5, 0.5], [1.0, 0.0]], np.float32)
    assert entropy(probabilities) == pytest.approx([1.4816e-5, np.log(2), 0.0], rel=1e-3, abs=1e-9)


def test_the_pixels_of_drawings_do_not_count() -> None:
    found = learn(seen(400, seed=0), seen(400, seed=1), are_drawn=True)
    assert np.mean(found.rank(seen(2000, seed=2, odd=4.0)) > UNUSUAL) < 0.1
    assert np.mean(found.rank(seen(200, seed=3, away=4.0)) > UNUSUAL) > 0.5
