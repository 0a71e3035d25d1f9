"""The last layer alone, as a logistic regression on what the rest of the network makes of each image.

The rest is not trained, so each image goes through it once. The strength of the regression's penalty, and whether it
learns from mirror images, is chosen on the validation images, or by cross-validation where those are few.
"""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from models.errors import UserError
from training.data.decoded import DecodedImages
from training.data.split import Split
from training.evaluate.calibration import softmax
from training.fit.frozen import Frozen

STRENGTHS = tuple(10.0**exponent for exponent in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0))  # C of scikit-learn
FOLDS = 5  # of the cross-validation
FEWEST_TO_CHOOSE_BY = 500  # validation images; fewer choose by their luck, and cross-validation does it better
MAX_ITERATIONS = 500
# The least that a feature is divided by, in terms of the root mean square of all features' deviations. A feature that
# hardly differs among the training images would be divided by next to nothing, and decide alone about other images.
LEAST_DEVIATION = 0.1


class Head(NamedTuple):
    """The last layer's fit.

    Attributes:
        strength: the C of scikit-learn that was chosen.
        mirrored: whether it learnt from mirror images, too.
        history: loss and accuracy of one epoch, as of a run that takes steps; `val_` of them if images are held out.
        out_of_fold: float (N, num_classes), the logits of the training images by regressions that have not learnt from
            them; None where the validation images were enough to choose by.
    """

    strength: float
    mirrored: bool
    history: dict[str, list[float]]
    out_of_fold: np.ndarray | None


class Choice(NamedTuple):
    """What a regression is fitted with.

    Attributes:
        loss: on images that it has not learnt from; the lower, the better.
        out_of_fold: float (num_images, num_classes), logits of the training images, as in `Head`.
    """

    loss: float
    strength: float
    out_of_fold: np.ndarray | None


class Examples(NamedTuple):
    """What a regression learns from: standardised features (N, F), labels, weights, and which are of one image.

    Mirror images follow all the others.
    """

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    groups: np.ndarray

    def of(self, rows: np.ndarray) -> "Examples":
        weights = None if self.weights is None else self.weights[rows]
        return Examples(self.x[rows], self.y[rows], weights, self.groups[rows])


def before_last_layer(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, model.get_layer("logits").input)


def fit_head(
    model: keras.Model, decoded: DecodedImages, split: Split, *, mirrors: bool, weights: np.ndarray | None = None
) -> Head:
    """Give the last layer the weights of the best regression.

    Args:
        mirrors: learn from each training image's mirror image, too, unless that raises the loss on other images.
        weights: of the classes in the loss, float (num_classes,); None: all alike.

    Raises:
        UserError: the training images are of one class.
    """
    y, y_val = decoded.labels[split.train], decoded.labels[split.val]
    if len(np.unique(y)) < 2:
        raise UserError("All training images are of one class; a classifier needs two classes or more.")
    body = Frozen(before_last_layer(model))
    (x,), (x_val,) = body.of_all(decoded.images, split.train), body.of_all(decoded.images, split.val)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = np.maximum(deviation, LEAST_DEVIATION * np.sqrt(np.mean(deviation**2)) + 1e-6)
    plain = Examples((x - mean) / deviation, y, None if weights is None else weights[y], np.arange(len(y)))
    candidates = [plain]  # the first of those that are equally good is chosen
    if mirrors:
        (mirrored,) = body.of_all(decoded.images, split.train, mirrored=True)
        candidates.insert(0, with_mirror_images(plain, (mirrored - mean) / deviation))
    num_classes = len(decoded.class_names)
    with threadpool_limits(1):  # these products are small: with a second thread they took 2.4 times as long
        if len(y_val) >= FEWEST_TO_CHOOSE_BY:
            choices = [best_on_validation(examples, (x_val - mean) / deviation, y_val) for examples in candidates]
        else:
            choices = [best_by_folds(examples, len(y), num_classes) for examples in candidates]
        best = int(np.argmin([choice.loss for choice in choices]))
        _, strength, out_of_fold = choices[best]
        *_, regression = path(candidates[best], tuple(c for c in STRENGTHS if c <= strength))
    kernel, bias = full(regression, num_classes)
    kernel, bias = kernel / deviation[:, None], bias - (mean / deviation) @ kernel
    model.get_layer("logits").set_weights([kernel, bias])
    history = losses_and_accuracies(x @ kernel + bias, y)
    if len(y_val):
        validated = losses_and_accuracies(x_val @ kernel + bias, y_val)
        history |= {f"val_{name}": values for name, values in validated.items()}
    return Head(strength, mirrors and best == 0, history, out_of_fold)


def with_mirror_images(examples: Examples, mirrored: np.ndarray) -> Examples:
    """With the features (N, F) of the mirror images behind the others."""
    both = examples.of(np.tile(np.arange(len(mirrored)), 2))
    both.x[len(mirrored) :] = mirrored
    return both


def losses_and_accuracies(logits: np.ndarray, labels: np.ndarray) -> dict[str, list[float]]:
    loss = log_loss(labels, softmax(logits, 1.0), labels=np.arange(logits.shape[1]))
    return {"loss": [loss], "accuracy": [float((logits.argmax(axis=1) == labels).mean())]}


def path(examples: Examples, strengths: tuple[float, ...] = STRENGTHS) -> Iterator[LogisticRegression]:
    """The regression at each strength, from the strongest penalty on, each of which begins at the one before."""
    regression = LogisticRegression(max_iter=MAX_ITERATIONS, warm_start=True)
    for strength in strengths:
        regression.C = strength
        yield regression.fit(examples.x, examples.y, sample_weight=examples.weights)


def best_on_validation(examples: Examples, x_val: np.ndarray, y_val: np.ndarray) -> Choice:
    """The strength with the lowest loss on the validation images."""
    losses = [loss_of(regression, x_val, y_val) for regression in path(examples)]
    return Choice(min(losses), STRENGTHS[int(np.argmin(losses))], None)


def best_by_folds(examples: Examples, num_images: int, num_classes: int) -> Choice:
    """The strength with the lowest loss on images that were left out in turn, a group as a whole.

    Args:
        num_images: how many of the examples are images as they are, which come first; the others are only learnt from.
    """
    num_folds = min(FOLDS, np.bincount(examples.y[:num_images]).max())
    if num_folds < 2:  # one image of each class: nothing can be left out
        return Choice(0.0, STRENGTHS[-1], None)
    losses = np.zeros(len(STRENGTHS))
    logits = np.zeros((len(STRENGTHS), num_images, num_classes))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is then in some of the folds only
        folds = list(
            StratifiedGroupKFold(num_folds, shuffle=True, random_state=0).split(examples.x, examples.y, examples.groups)
        )
    for rest, left_out in folds:
        if len(np.unique(examples.y[rest])) < 2:
            continue
        asked = left_out[left_out < num_images]
        for i, regression in enumerate(path(examples.of(rest))):
            losses[i] += loss_of(regression, examples.x[asked], examples.y[asked]) * len(asked) / num_images
            kernel, bias = full(regression, num_classes)
            logits[i, asked] = examples.x[asked] @ kernel + bias
    best = int(np.argmin(losses))
    return Choice(losses[best], STRENGTHS[best], logits[best])


def loss_of(regression: LogisticRegression, x: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-likelihood of the images whose classes the regression knows."""
    known = np.isin(y, regression.classes_)
    if not known.any():
        return 0.0
    return log_loss(y[known], regression.predict_proba(x[known]), labels=regression.classes_)


def full(regression: LogisticRegression, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (F, num_classes) and bias (num_classes,), also of two classes, for which scikit-learn keeps one row."""
    rows, intercepts = regression.coef_, regression.intercept_
    if len(rows) == 1:
        rows, intercepts = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    kernel, bias = np.zeros((rows.shape[1], num_classes)), np.full(num_classes, -30.0)  # of a class without images
    kernel[:, regression.classes_], bias[regression.classes_] = rows.T, intercepts
    return kernel, bias
