"""What a table of predictions says: every figure from the same probabilities and labels, in NumPy."""

from typing import Any

import numpy as np

CALIBRATION_BINS = 15  # as in Guo et al., 2017, https://arxiv.org/abs/1706.04599
SKEWED = 5.0  # times as many images in the largest class as in the smallest: accuracy then speaks of the largest alone
TEMPERATURES = np.geomspace(0.5, 4, 121)  # in steps of 1.75 %; a split with no mistake would have 0


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """float (N, num_classes) logits -> float64 (N, num_classes) probabilities."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def calibrate(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that gives these labels the greatest likelihood (Guo et al., 2017, section 4.2)."""
    losses = [negative_log_likelihood(softmax(logits, temperature), labels) for temperature in TEMPERATURES]
    return round(float(TEMPERATURES[int(np.argmin(losses))]), 4)


def measure(probabilities: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy and its company for probabilities (N, num_classes) against integer labels (N,).

    `confusion[i][j]` counts the images of class i that were taken for class j. `balanced_accuracy` is the mean
    recall of the classes that have images; recall and precision are None where they would divide by zero. `headline`
    names the figure to go by: balanced accuracy where classes are skewed.
    """
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(class_names), len(class_names)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    right, of_class, taken_for = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    recalls = [ratio(r, n) for r, n in zip(right, of_class, strict=True)]
    precisions = [ratio(r, n) for r, n in zip(right, taken_for, strict=True)]
    return {
        "headline": "balanced_accuracy" if is_skewed(of_class) else "accuracy",
        "num_images": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(np.mean([recall for recall in recalls if recall is not None])),
        "negative_log_likelihood": negative_log_likelihood(probabilities, labels),
        "expected_calibration_error": expected_calibration_error(probabilities, labels),
        "per_class": {
            name: {"recall": recall, "precision": precision, "num_images": int(n)}
            for name, recall, precision, n in zip(class_names, recalls, precisions, of_class, strict=True)
        },
        "confusion": confusion.tolist(),
    }


def is_skewed(counts: np.ndarray) -> bool:
    """Whether some class has many times the images of another; those without any count for nothing."""
    present = counts[counts > 0]
    return bool(present.max() > SKEWED * present.min())


def ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1)).mean())


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of confidence from accuracy over bins of equal width, weighted by images."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(correct[bins == b].sum() - confidence[bins == b].sum()) for b in np.unique(bins)]
    return float(sum(gaps) / len(labels))
