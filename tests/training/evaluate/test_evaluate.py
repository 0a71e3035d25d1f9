"""What `evaluate` adds to a bundle's own answers."""

import numpy as np

from training.evaluate.calibration import softmax
from training.evaluate.evaluate import mean_of_logits


def test_answers_for_an_image_and_its_mirror_image_are_averaged_as_logits_like_in_a_mirrored_bundle() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 3, (2, 50, 4))
    temperature = 1.7
    found = mean_of_logits(softmax(first, temperature), softmax(second, temperature))
    np.testing.assert_allclose(found, softmax((first + second) / 2, temperature), atol=1e-9)


def test_a_probability_of_zero_stays_finite() -> None:
    found = mean_of_logits(np.array([[1.0, 0.0]], np.float32), np.array([[0.5, 0.5]], np.float32))
    np.testing.assert_allclose(found, [[1, 0]], atol=1e-9)
