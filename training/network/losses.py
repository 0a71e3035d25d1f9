"""Cross-entropy with label smoothing and class weights, for labels that may be soft.

Keras's own `class_weight` weighs a sample by the largest of its targets, which is wrong where targets are mixed. Here
each target's term of the sum has the weight of its own class: the loss of a mixed image is the mean of the losses of
its two images, each with its own weight, as in mixup (Zhang et al., 2017, https://arxiv.org/abs/1710.09412).
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from training.config.settings import ClassWeights, Settings


class CrossEntropy(keras.losses.Loss):
    """Of logits (B, num_classes) against labels, integers (B,) or probabilities (B, num_classes)."""

    def __init__(self, class_weights: np.ndarray, *, label_smoothing: float = 0.0) -> None:
        """
        Args:
            class_weights: float (num_classes,).
            label_smoothing: share of each target that is spread over all classes (Szegedy et al., 2015, section 7).
        """
        super().__init__(name="cross_entropy", dtype="float32")
        self.class_weights = class_weights.astype(np.float32)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """float32 (B,)."""
        num_classes = len(self.class_weights)
        targets = probabilities(y_true, num_classes)
        weighted = targets * ops.convert_to_tensor(self.class_weights)
        spread = self.label_smoothing / num_classes * ops.sum(weighted, axis=-1, keepdims=True)
        return -ops.sum(((1 - self.label_smoothing) * weighted + spread) * ops.log_softmax(y_pred), axis=-1)


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """float32 (B,), 1 where the most probable class is the label, or its largest share."""
    targets = probabilities(y_true, y_pred.shape[-1])
    return ops.cast(ops.argmax(targets, axis=-1) == ops.argmax(y_pred, axis=-1), "float32")


def probabilities(labels: Any, num_classes: int) -> Any:
    """Integers (B,) or (B, 1), or probabilities as they are -> float32 (B, num_classes)."""
    if len(labels.shape) == 2 and labels.shape[-1] == num_classes:
        return labels
    return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), num_classes)


def loss_for(settings: Settings, labels: np.ndarray, num_classes: int) -> CrossEntropy:
    """
    Args:
        labels: int (N,), of the training images.
    """
    weights = class_weights(settings.class_weights, np.bincount(labels, minlength=num_classes))
    return CrossEntropy(weights, label_smoothing=settings.label_smoothing)


def class_weights(kind: ClassWeights, counts: np.ndarray) -> np.ndarray:
    """float64 (num_classes,), by which the mean weight of a training image is 1.

    `balanced` is as if each class had as many images.

    Args:
        counts: int (num_classes,), training images of each.
    """
    if kind == "none":
        return np.ones(len(counts))
    weights = 1 / np.maximum(counts, 1)
    return weights * counts.sum() / (weights * counts).sum()
