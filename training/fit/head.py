"""The last layer alone, as a logistic regression on what the rest of the network makes of each image.

The rest is not trained, so each image goes through it once. The strength of the regression's penalty is chosen on the
validation images, or by cross-validation where nothing is held out.
"""

import warnings
from typing import NamedTuple

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold

from models.errors import UserError
from training.data.decoded import DecodedImages
from training.data.split import Split
from training.evaluate.calibration import softmax

STRENGTHS = tuple(10.0**exponent for exponent in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0))  # C of scikit-learn
FOLDS = 5  # of the cross-validation
MAX_ITERATIONS = 500
BATCH_SIZE = 32


class Head(NamedTuple):
    """The last layer's fit.

    Attributes:
        strength: the C of scikit-learn that was chosen.
        history: loss and accuracy of one epoch, as of a run that takes steps; `val_` of them if images are held out.
    """

    strength: float
    history: dict[str, list[float]]


def features_of(model: keras.Model, images: np.ndarray, rows: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
    """What `model` makes, float32 (N, F), of uint8 images (M, H, W, C)[rows], or of their mirror images."""
    found = np.empty((len(rows), model.output.shape[-1]), np.float32)
    for start in range(0, len(rows), BATCH_SIZE):
        some = rows[start : start + BATCH_SIZE]
        batch = np.asarray(images[np.resize(some, BATCH_SIZE)])  # always as many: another number is compiled anew
        found[start : start + len(some)] = model.predict_on_batch(batch[:, :, ::-1] if mirrored else batch)[: len(some)]
    return found


def before_last_layer(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, model.get_layer("logits").input)


def fit_head(
    model: keras.Model, decoded: DecodedImages, split: Split, *, mirrors: bool, weights: np.ndarray | None = None
) -> Head:
    """Give the last layer the weights of the best regression.

    Args:
        mirrors: learn from each training image's mirror image, too.
        weights: of the classes in the loss, float (num_classes,); None: all alike.

    Raises:
        UserError: the training images are of one class.
    """
    y, y_val = decoded.labels[split.train], decoded.labels[split.val]
    if len(np.unique(y)) < 2:
        raise UserError("All training images are of one class; a classifier needs two classes or more.")
    body = before_last_layer(model)
    x = x_train = features_of(body, decoded.images, split.train)
    x_val = features_of(body, decoded.images, split.val)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    learnt, groups = y, np.arange(len(y))
    if mirrors:
        x = np.concatenate([x, features_of(body, decoded.images, split.train, mirrored=True)])
        learnt, groups = np.tile(y, 2), np.tile(groups, 2)
    x = (x - mean) / deviation
    importance = None if weights is None else weights[learnt]
    if len(y_val):
        strength = best_on_validation(x, learnt, importance, (x_val - mean) / deviation, y_val)
    else:
        strength = best_by_folds(x, learnt, importance, groups)
    kernel, bias = full(regress(x, learnt, importance, strength), x.shape[1], len(decoded.class_names))
    kernel, bias = kernel / deviation[:, None], bias - (mean / deviation) @ kernel
    model.get_layer("logits").set_weights([kernel, bias])
    history = losses_and_accuracies(x_train @ kernel + bias, y)
    if len(y_val):
        validated = losses_and_accuracies(x_val @ kernel + bias, y_val)
        history |= {f"val_{name}": values for name, values in validated.items()}
    return Head(strength, history)


def losses_and_accuracies(logits: np.ndarray, labels: np.ndarray) -> dict[str, list[float]]:
    loss = log_loss(labels, softmax(logits, 1.0), labels=np.arange(logits.shape[1]))
    return {"loss": [loss], "accuracy": [float((logits.argmax(axis=1) == labels).mean())]}


def regress(x: np.ndarray, y: np.ndarray, importance: np.ndarray | None, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(x, y, sample_weight=importance)


def best_on_validation(
    x: np.ndarray, y: np.ndarray, importance: np.ndarray | None, x_val: np.ndarray, y_val: np.ndarray
) -> float:
    """The strength with the lowest loss on the validation images."""
    return best({strength: loss_of(regress(x, y, importance, strength), x_val, y_val) for strength in STRENGTHS})


def best_by_folds(x: np.ndarray, y: np.ndarray, importance: np.ndarray | None, groups: np.ndarray) -> float:
    """The strength with the lowest loss on images that were left out in turn; a group is left out as a whole."""
    num_folds = min(FOLDS, len(np.unique(groups)))
    losses = dict.fromkeys(STRENGTHS, 0.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is then in some of the folds only
        folds = list(StratifiedGroupKFold(num_folds, shuffle=True, random_state=0).split(x, y, groups))
    for rest, left_out in folds:
        weights = None if importance is None else importance[rest]
        for strength in STRENGTHS if len(np.unique(y[rest])) > 1 else ():
            losses[strength] += loss_of(regress(x[rest], y[rest], weights, strength), x[left_out], y[left_out])
    return best(losses)


def best(losses: dict[float, float]) -> float:
    return min(losses, key=losses.__getitem__)


def loss_of(regression: LogisticRegression, x: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-likelihood of the images whose classes the regression knows."""
    known = np.isin(y, regression.classes_)
    if not known.any():
        return 0.0
    return log_loss(y[known], regression.predict_proba(x[known]), labels=regression.classes_)


def full(regression: LogisticRegression, num_features: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (F, num_classes) and bias (num_classes,), also of two classes, for which scikit-learn keeps one row."""
    rows, intercepts = regression.coef_, regression.intercept_
    if len(rows) == 1:
        rows, intercepts = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    kernel, bias = np.zeros((num_features, num_classes)), np.full(num_classes, -30.0)  # of a class without images
    kernel[:, regression.classes_], bias[regression.classes_] = rows.T, intercepts
    return kernel, bias
