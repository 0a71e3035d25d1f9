"""The last layer alone, as a logistic regression on what the rest of the network makes of each image.

The rest is not trained, so each image goes through it once. The strength of the regression's penalty is chosen on the
validation images, or by cross-validation where nothing is held out.
"""

from collections.abc import Callable

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score

from training.data.decoded import DecodedImages
from training.data.split import Split

STRENGTHS = tuple(10.0**exponent for exponent in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0))  # C of scikit-learn
FOLDS = 5  # of the cross-validation
MAX_ITERATIONS = 500
BATCH_SIZE = 32


def features_of(
    model: keras.Model,
    images: np.ndarray,
    rows: np.ndarray,
    *,
    mirrored: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """What the last layer is given, float32 (N, F), of uint8 images (M, H, W, C)[rows].

    Args:
        mirrored: of the images' mirror images.
        on_progress: called with the number of images done since the last call.
    """
    before_last = keras.Model(model.input, model.get_layer("logits").input)
    found = np.empty((len(rows), before_last.output.shape[-1]), np.float32)
    for start in range(0, len(rows), BATCH_SIZE):
        some = rows[start : start + BATCH_SIZE]
        batch = np.asarray(images[some])
        found[start : start + len(some)] = before_last.predict_on_batch(batch[:, :, ::-1] if mirrored else batch)
        on_progress(len(some))
    return found


def fit_head(
    model: keras.Model,
    decoded: DecodedImages,
    split: Split,
    *,
    mirrors: bool,
    weights: np.ndarray | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> float:
    """Give the last layer the weights of the best regression; returns the strength that was chosen (C).

    Args:
        mirrors: learn from each training image's mirror image, too.
        weights: of the classes in the loss, float (num_classes,); None: all alike.
    """
    labels = decoded.labels
    x = features_of(model, decoded.images, split.train, on_progress=on_progress)
    y = labels[split.train]
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    groups = np.arange(len(y))
    if mirrors:
        turned = features_of(model, decoded.images, split.train, mirrored=True, on_progress=on_progress)
        x, y, groups = np.concatenate([x, turned]), np.tile(y, 2), np.tile(groups, 2)
    x = (x - mean) / deviation
    importance = None if weights is None else weights[y]
    if len(split.val):
        x_val = (features_of(model, decoded.images, split.val, on_progress=on_progress) - mean) / deviation
        strength = best_on_validation(x, y, importance, x_val, labels[split.val])
    else:
        strength = best_by_folds(x, y)
    regression = regress(x, y, importance, strength)
    kernel, bias = full(regression, x.shape[1], len(decoded.class_names))
    model.get_layer("logits").set_weights([kernel / deviation[:, None], bias - (mean / deviation) @ kernel])
    return strength


def regress(x: np.ndarray, y: np.ndarray, importance: np.ndarray | None, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(x, y, sample_weight=importance)


def best_on_validation(
    x: np.ndarray, y: np.ndarray, importance: np.ndarray | None, x_val: np.ndarray, y_val: np.ndarray
) -> float:
    """The strength with the lowest mean negative log-likelihood on the validation images."""
    losses = {}
    for strength in STRENGTHS:
        regression = regress(x, y, importance, strength)
        places = {label: i for i, label in enumerate(regression.classes_)}
        known = np.array([label in places for label in y_val])
        likely = regression.predict_log_proba(x_val[known])[np.arange(known.sum()), [places[c] for c in y_val[known]]]
        losses[strength] = -float(likely.mean())
    return min(losses, key=losses.__getitem__)


def best_by_folds(x: np.ndarray, y: np.ndarray) -> float:
    folds = StratifiedKFold(min(FOLDS, int(np.bincount(y)[np.unique(y)].min())), shuffle=True, random_state=0)
    scores = {
        strength: cross_val_score(
            LogisticRegression(C=strength, max_iter=MAX_ITERATIONS), x, y, cv=folds, scoring="neg_log_loss"
        ).mean()
        for strength in STRENGTHS
    }
    return max(scores, key=scores.__getitem__)


def full(regression: LogisticRegression, num_features: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (F, num_classes) and bias (num_classes,), also of two classes, for which scikit-learn keeps one row."""
    rows, intercepts = regression.coef_, regression.intercept_
    if len(rows) == 1:
        rows, intercepts = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    kernel, bias = np.zeros((num_features, num_classes)), np.full(num_classes, -30.0)  # of a class without images
    kernel[:, regression.classes_], bias[regression.classes_] = rows.T, intercepts
    return kernel, bias
