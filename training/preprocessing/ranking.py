"""Which preprocessing somebody's network was trained with, found by trying each on labelled images.

A wrong scaling seldom gives an error: the network answers, and confidently. But it is surprised by the labels. Each
candidate is measured by the mean log loss of the labels, each at its own best temperature, since a network that is
too sure would else lose to the same network on washed-out inputs. Candidates that give the same first class on nearly
all images count as one: (x - 127) / 128 and x / 127.5 - 1 cannot be told apart, and need not be.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.evaluate.calibration import calibrated_losses

SAME = 0.97  # share of images with the same first class, from which on two candidates count as one
SURE = 2.0  # standard errors by which the best must be better than each other candidate
FEWEST = 12  # images, below which nothing is sure
DIGITS = 4  # of a loss: channels in another order may change nothing but rounding


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    Attributes:
        loss: mean log loss of the labels at the candidate's best temperature, in nats.
        accuracy: share of the images whose first class is their label.
        same: it gives the same first classes as the best one.
        distance: how much worse than the best its loss is, in standard errors; 0 for the best.
    """

    name: str
    loss: float
    accuracy: float
    same: bool
    distance: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """
    Attributes:
        candidates: the best first.
        better_than_chance: the best knows more of the labels than their number.
        sure: the best is better than every candidate that answers otherwise, by more than chance explains.
    """

    candidates: tuple[Candidate, ...]
    num_images: int
    better_than_chance: bool
    sure: bool

    @property
    def best(self) -> Candidate:
        return self.candidates[0]


def rank(logits: Mapping[str, np.ndarray], labels: np.ndarray) -> Ranking:
    """
    Args:
        logits: by the candidate's name, float (N, num_classes) of the same N images; or logarithms of probabilities.
        labels: int (N,).
    """
    losses = {name: calibrated_losses(of_unit_spread(each), labels) for name, each in logits.items()}
    classes = {name: each.argmax(axis=1) for name, each in logits.items()}
    order = sorted(logits, key=lambda name: round(float(losses[name].mean()), DIGITS))  # of equal ones the first
    best = order[0]

    def describe(name: str) -> Candidate:
        worse = losses[name] - losses[best]
        error = worse.std(ddof=1) / np.sqrt(len(labels)) if len(labels) > 1 else np.inf
        same = bool((classes[name] == classes[best]).mean() >= SAME)
        return Candidate(
            name,
            loss=float(losses[name].mean()),
            accuracy=float((classes[name] == labels).mean()),
            same=same,
            distance=float(worse.mean() / error) if error > 0 else 0.0,
        )

    candidates = tuple(describe(name) for name in order)
    by_chance = float(np.log(next(iter(logits.values())).shape[1]))
    error = float(losses[best].std(ddof=1)) / np.sqrt(len(labels)) if len(labels) > 1 else np.inf
    better = bool(candidates[0].loss + SURE * error < by_chance)
    told_apart = all(each.same or each.distance > SURE for each in candidates)
    return Ranking(candidates, len(labels), better, better and told_apart and len(labels) >= FEWEST)


def of_unit_spread(logits: np.ndarray) -> np.ndarray:
    """Logits (N, num_classes) of which those of an image have the mean 0, and all the deviation 1: temperatures of any
    network then lie in one range.
    """
    centred = logits - logits.mean(axis=1, keepdims=True)
    spread = float(centred.std())
    return centred / spread if spread else centred
