"""The temperature by which a model's logits are divided, so that its confidence says how often it is right.

It is fitted on images with known labels (Guo et al., 2017, https://arxiv.org/abs/1706.04599, section 4.2): on the
validation split, or on training images that were left out: by cross-validation, or of the last epochs of the run.
"""

import logging
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, special

from training.data.decoded import DecodedImages
from training.data.split import Split

log = logging.getLogger(__name__)

LOWEST, HIGHEST = 0.05, 20.0  # temperatures between which the best one is searched for
RESTING_SHARE, FEWEST_RESTING, MOST_RESTING = 0.05, 100, 1000  # of the training images; fewer than the minimum: none
LARGEST_RESTING_GROUP = 10  # of near duplicates: so many times smaller than all that rest, or they would be all
RESTING_EPOCHS = 0.3  # the share of the epochs, at the end of the run, in which these images are not trained on
Method = Literal["cross-validation", "validation", "resting training images", "none"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature, and the images that it was fitted on."""

    temperature: float  # 1 where there were no images to fit it on
    method: Method
    num_images: int


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """float (N, num_classes) logits -> float64 (N, num_classes) probabilities."""
    probabilities: np.ndarray = special.softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that gives these labels the greatest likelihood, as far as `best_temperature` searches.

    Args:
        logits: float (N, num_classes).
        labels: int (N,).
    """
    temperature = best_temperature(logits, labels)
    if not 1.01 * LOWEST < temperature < 0.99 * HIGHEST:
        log.error(
            "The temperature %.3g lies at the end of the range that is searched, %g to %g: the confidence of this "
            "model cannot be relied on. The logits are between %.3g and %.3g; look at the training history.",
            *(temperature, LOWEST, HIGHEST, logits.min(), logits.max()),
        )
    return round(temperature, 4)


def calibrated_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each label at the best temperature, float64 (N,), of logits (N, num_classes)."""
    temperature = best_temperature(logits, labels)
    log_probabilities = special.log_softmax(logits.astype(np.float64) / temperature, axis=1)
    losses: np.ndarray = -log_probabilities[np.arange(len(labels)), labels]
    return losses


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that gives these labels the greatest likelihood.

    Each target is moved towards chance as if one label in N + 2 were drawn at random (Platt, 1999, Probabilistic
    Outputs for Support Vector Machines, section 2.2): images without a mistake do not make the model infinitely sure.

    Args:
        logits: float (N, num_classes).
        labels: int (N,).
    """
    num_images, num_classes = logits.shape
    by_chance = 1 / (num_images + 2)
    targets = np.full(logits.shape, by_chance / num_classes)
    targets[np.arange(num_images), labels] += 1 - by_chance

    def loss(log_temperature: float) -> float:
        log_probabilities = special.log_softmax(logits.astype(np.float64) / math.exp(log_temperature), axis=1)
        return float(-(targets * log_probabilities).sum(axis=1).mean())

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    return math.exp(optimize.minimize_scalar(loss, bounds=bounds, options={"xatol": 1e-5}).x)


def resting_rows(decoded: DecodedImages, split: Split) -> np.ndarray:
    """Rows of the training images that are left out of the last epochs, ascending; which ones, their content decides.

    Near duplicates are left out together. There are none where a validation split serves, or where so small a part of
    the training images would be too few.
    """
    most = min(MOST_RESTING, int(RESTING_SHARE * len(split.train)))
    if len(split.val) or most < FEWEST_RESTING:
        return split.train[:0]
    _, first, groups, sizes = np.unique(
        decoded.groups()[split.train], return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(decoded.hashes()[split.train[first]], kind="stable")
    order = order[sizes[order] <= most // LARGEST_RESTING_GROUP]
    chosen = order[np.cumsum(sizes[order]) <= most]
    rows: np.ndarray = split.train[np.isin(groups, chosen)]
    return rows if len(rows) >= FEWEST_RESTING else split.train[:0]


def first_resting_epoch(epochs: int) -> int:
    """The epoch, counted from 0, from which on the resting images are left out."""
    return epochs - math.ceil(RESTING_EPOCHS * epochs)
