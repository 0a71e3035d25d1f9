"""What a table of predictions says."""

from typing import Any

import numpy as np
import sklearn.metrics
from scipy import stats

from training.data.audit import is_imbalanced
from training.evaluate.predictions import Predictions
from training.evaluate.significance import detectable_difference

CALIBRATION_BINS = 15  # as in Guo et al., 2017, https://arxiv.org/abs/1706.04599
TOP = 5


def measure(predictions: Predictions) -> dict[str, Any]:
    """Accuracy, calibration error, per-class metrics and the confusion matrix.

    `confusion[i][j]` counts the images of class i that were taken for class j. `balanced_accuracy` is the mean
    recall of the classes that have images; recall, precision and F1 are None where they would divide by zero. Intervals
    are of 95 %. `top_5_accuracy` is there where there are more than five classes. `resolvable_difference` is the
    smallest difference in accuracy from another model that so many images can show
    (`training.evaluate.significance.detectable_difference`). `headline` names the figure to go by: balanced accuracy
    where classes are skewed.
    """
    probabilities, labels, class_names = predictions.probabilities, predictions.labels, predictions.class_names
    classes = np.arange(len(class_names))
    predicted = probabilities.argmax(axis=1)
    confusion = sklearn.metrics.confusion_matrix(labels, predicted, labels=classes)
    right, of_class, taken_for = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    recalls = [ratio(r, n) for r, n in zip(right, of_class, strict=True)]
    accuracy = float((predicted == labels).mean())
    metrics = {
        "headline": "balanced_accuracy" if is_imbalanced(of_class) else "accuracy",
        "num_images": len(labels),
        "accuracy": accuracy,
        "accuracy_interval": interval(int(right.sum()), len(labels)),
        "balanced_accuracy": float(np.mean([recall for recall in recalls if recall is not None])),
        "resolvable_difference": detectable_difference(len(labels)),
        "negative_log_likelihood": negative_log_likelihood(probabilities, labels),
        "expected_calibration_error": expected_calibration_error(probabilities, labels),
        "per_class": {
            name: {
                "recall": recalls[i],
                "recall_interval": interval(right[i], of_class[i]),
                "precision": ratio(right[i], taken_for[i]),
                "precision_interval": interval(right[i], taken_for[i]),
                "f1": ratio(2 * right[i], of_class[i] + taken_for[i]),
                "num_images": int(of_class[i]),
            }
            for i, name in enumerate(class_names)
        },
        "confusion": confusion.tolist(),
    }
    if len(class_names) > TOP:
        top = sklearn.metrics.top_k_accuracy_score(labels, probabilities, k=TOP, labels=classes)
        metrics["top_5_accuracy"] = float(top)
    return metrics


def interval(successes: int, trials: int) -> list[float] | None:
    """95 % for a share (Wilson, 1927, https://doi.org/10.1080/01621459.1927.10502953); None of nothing."""
    return [*map(float, stats.binomtest(successes, trials).proportion_ci(method="wilson"))] if trials else None


def ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1)).mean())


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of confidence from accuracy over bins of equal width, weighted by images."""
    bins = calibration_bins(probabilities, labels)
    return float(sum(count * abs(accuracy - confidence) for confidence, accuracy, count in bins) / len(labels))


def calibration_bins(probabilities: np.ndarray, labels: np.ndarray) -> list[tuple[float, float, int]]:
    """Of each bin with images in it: mean confidence, accuracy, images."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    members = (bins == b for b in np.unique(bins))
    return [(float(confidence[rows].mean()), float(correct[rows].mean()), int(rows.sum())) for rows in members]
