"""Which preprocessing somebody's network was trained with, found by trying each on labelled images.

A wrong scaling seldom gives an error: the network answers, and confidently. But it is surprised by the labels, and less
decided where it answers as it should. So a candidate is measured by the log loss of the labels plus the entropy of the
answers; the entropy needs no labels, and tells much that a few dozen of them cannot, such as red from blue. Entropy
alone is no measure: some wrong scaling makes the same confident answer of every image.

A network that is too sure would lose to the same network on washed-out inputs. So all answers are taken at one
temperature, the best for that candidate whose loss is the least when each has a temperature of its own. `python -m
benchmarks.preprocessing` says how often all this finds the right one. Candidates that give the same first class on
nearly all images count as one: (x - 127) / 128 and x / 127.5 - 1 cannot be told apart, and need not be.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from training.evaluate.calibration import best_temperature

SAME = 0.97  # share of images with the same first class, from which on two candidates count as one
SURE = 1.5  # standard errors by which the best must be better than each other candidate
BETTER = 2.0  # standard errors by which its loss must be less than that of answers by chance
FEWEST = 12  # images, below which nothing is sure
DIGITS = 4  # of a measure: channels in another order may change nothing but rounding


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    Attributes:
        loss: mean log loss of the labels, in nats, at the temperature that all candidates share.
        accuracy: share of the images whose first class is their label.
        same: it gives the same first classes as the best one.
        distance: how much worse than the best its loss and entropy are, in standard errors; 0 for the best.
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
    losses, entropies = measure(logits, labels)
    measures = {name: losses[name] + entropies[name] for name in logits}
    classes = {name: each.argmax(axis=1) for name, each in logits.items()}
    order = sorted(logits, key=lambda name: round(float(measures[name].mean()), DIGITS))  # of equal ones the first
    best = order[0]

    def describe(name: str) -> Candidate:
        worse = measures[name] - measures[best]
        error = standard_error(worse)
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
    better = bool(candidates[0].loss + BETTER * standard_error(losses[best]) < by_chance)
    told_apart = all(each.same or each.distance > SURE for each in candidates)
    return Ranking(candidates, len(labels), better, better and told_apart and len(labels) >= FEWEST)


def measure(
    logits: Mapping[str, np.ndarray], labels: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By the candidate's name, the log loss of each label, and the entropy of each answer: float64 (N,), in nats."""
    centred = {name: each - each.mean(axis=1, keepdims=True) for name, each in logits.items()}
    temperatures = {name: temperature_of(each, labels) for name, each in centred.items()}
    rows = np.arange(len(labels))

    def answers(name: str, temperature: float) -> np.ndarray:
        found: np.ndarray = special.log_softmax(centred[name].astype(np.float64) / temperature, axis=1)
        return found

    def own_loss(name: str) -> float:
        return -float(answers(name, temperatures[name])[rows, labels].mean())

    shared = temperatures[min(logits, key=own_loss)]
    found = {name: answers(name, shared) for name in logits}
    losses = {name: -each[rows, labels] for name, each in found.items()}
    return losses, {name: special.entr(np.exp(each)).sum(axis=1) for name, each in found.items()}


def temperature_of(centred: np.ndarray, labels: np.ndarray) -> float:
    """The best one for logits of any size (N, num_classes), those of an image having the mean 0."""
    spread = float(centred.std()) or 1.0
    return spread * best_temperature(centred / spread, labels)


def standard_error(values: np.ndarray) -> float:
    """Of the mean of float (N,)."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.inf
