"""The loss, beside NumPy and Keras: smoothed, weighted, and right for labels that are mixed."""

import keras
import numpy as np
import pytest

from training.network.losses import CrossEntropy, accuracy, class_weights

LOGITS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32) * 3
LABELS = np.array([0, 1, 2, 2, 1, 0])
MIXED = np.array([[0.7, 0.3, 0], [0, 1, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.6], [1, 0, 0], [0, 0.1, 0.9]], np.float32)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_without_weights_and_smoothing_it_is_keras_cross_entropy() -> None:
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, LOGITS)
    for labels in (LABELS, LABELS[:, None], np.eye(3)[LABELS]):
        assert float(CrossEntropy(np.ones(3))(labels, LOGITS)) == pytest.approx(float(expected), rel=1e-6)


def test_smoothing_is_keras_smoothing() -> None:
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(MIXED, LOGITS)
    found = CrossEntropy(np.ones(3), label_smoothing=0.2)(MIXED, LOGITS)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_mixed_image_is_the_mix_of_the_weighted_losses_of_its_images(smoothing: float) -> None:
    """A rare and a frequent class in one image: the weight of the rare one is not spread over both."""
    weights = np.array([1, 10, 100])
    loss = CrossEntropy(weights, label_smoothing=smoothing)
    of_each_class = np.stack([np.asarray(loss.call(np.full(6, label), LOGITS)) for label in range(3)], axis=1)
    assert float(loss(MIXED, LOGITS)) == pytest.approx((MIXED * of_each_class).sum(axis=1).mean(), rel=1e-5)
    plain = -weights * log_softmax(LOGITS)
    assert smoothing or of_each_class == pytest.approx(plain, rel=1e-5)


def test_two_classes_are_not_taken_for_two_labels() -> None:
    logits, mixed = LOGITS[:2, :2], np.array([[0.5, 0.5], [0.25, 0.75]], np.float32)
    expected = -(mixed * log_softmax(logits)).sum(axis=1).mean()
    assert float(CrossEntropy(np.ones(2))(mixed, logits)) == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_give_every_class_the_same_say() -> None:
    counts = np.array([900, 90, 10])
    weights = class_weights("balanced", counts)
    np.testing.assert_allclose(weights * counts, 1000 / 3)


def test_without_class_weights_every_image_weighs_the_same() -> None:
    assert class_weights("none", np.array([5000, 500, 50])).tolist() == [1, 1, 1]


def test_a_class_without_training_images_divides_nothing_by_zero() -> None:
    assert np.isfinite(class_weights("balanced", np.array([10, 0]))).all()


def test_it_stays_exact_in_bfloat16() -> None:
    found = CrossEntropy(np.ones(3))(LABELS, keras.ops.cast(LOGITS, "bfloat16"))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


def test_accuracy_is_of_the_largest_share() -> None:
    logits = np.array([[2, 1, 0], [0, 1, 2], [0, 3, 0], [0, 0, 1]])
    for labels in ([0, 1, 1, 2], [[0], [1], [1], [2]], [[0.6, 0.4, 0], [0.1, 0.8, 0.1], [0, 1, 0], [0.4, 0, 0.6]]):
        assert np.asarray(accuracy(keras.ops.convert_to_tensor(labels), logits)).tolist() == [1, 0, 1, 1]
