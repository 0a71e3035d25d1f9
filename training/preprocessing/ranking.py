"""Which preprocessing somebody's network was trained with, found by trying each on labelled images.

A wrong scaling seldom gives an error: the network answers, and confidently. But it is surprised by the labels, and less
decided where it answers as it should. So a candidate is measured by the log loss of the labels plus the entropy of the
answers; the entropy needs no labels, and tells much that a few dozen of them cannot, such as red from blue. Entropy
alone is no measure: some wrong scaling makes the same confident answer of every image.

Pixels with more contrast make most networks surer, rightly or not. So the logits of all candidates of one contrast are
divided by their spread, and all are taken at one temperature: the best for the candidate whose loss is the least when
each has its own. `python -m benchmarks.preprocessing` says how often all this finds the right one. Candidates that give
the same first class on nearly all images count as one: (x - 127) / 128 and x / 127.5 - 1 cannot be told apart, and need
not be, unless their contrasts differ and the model's own probabilities are clearly better with another than the first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from training.evaluate.calibration import best_temperature, calibrated_losses

SAME = 0.97  # share of images with the same first class, from which on two candidates count as one
SURE = 1.5  # standard errors by which the best must be better than each other candidate
CLEARLY = 1.0  # standard errors by which probabilities must be better, of candidates with the same first classes
BETTER = 2.0  # standard errors by which its loss must be less than that of answers by chance
FEWEST = 12  # images, below which nothing is sure
DIGITS = 4  # of a measure: channels in another order may change nothing but rounding


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    Attributes:
        loss: mean log loss of the labels, in nats, with the probabilities that the model itself gives.
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


def rank(logits: Mapping[str, np.ndarray], labels: np.ndarray, contrast_of: Callable[[str], str]) -> Ranking:
    """
    Args:
        logits: by the candidate's name, float (N, num_classes) of the same N images; or logarithms of probabilities.
        labels: int (N,).
        contrast_of: by the candidate's name, what those have in common whose pixels differ in their order alone.
    """
    calibrated, entropies = measure(logits, labels, contrast_of)
    measures = {name: calibrated[name] + entropies[name] for name in logits}
    losses = {name: losses_of(special.log_softmax(each, axis=1), labels) for name, each in logits.items()}
    classes = {name: each.argmax(axis=1) for name, each in logits.items()}
    order = sorted(logits, key=lambda name: round(float(measures[name].mean()), DIGITS))  # of equal ones the first
    first = order[0]
    more_likely = [
        name
        for name in order
        if contrast_of(name) != contrast_of(first)
        and (classes[name] == classes[first]).mean() >= SAME
        and distance(losses[first], losses[name]) > CLEARLY
    ]
    best = min(more_likely or [first], key=lambda name: float(losses[name].mean()))
    order.sort(key=lambda name: name != best)

    def describe(name: str) -> Candidate:
        same = bool((classes[name] == classes[best]).mean() >= SAME)
        return Candidate(
            name,
            loss=float(losses[name].mean()),
            accuracy=float((classes[name] == labels).mean()),
            same=same,
            distance=distance(measures[name], measures[best]),
        )

    candidates = tuple(describe(name) for name in order)
    by_chance = float(np.log(next(iter(logits.values())).shape[1]))
    better = bool(calibrated[best].mean() + BETTER * standard_error(calibrated[best]) < by_chance)
    told_apart = all(each.same or each.distance > SURE for each in candidates)
    return Ranking(candidates, len(labels), better, better and told_apart and len(labels) >= FEWEST)


def measure(
    logits: Mapping[str, np.ndarray], labels: np.ndarray, contrast_of: Callable[[str], str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By the candidate's name, the log loss of each label, and the entropy of each answer, float64 (N,), in nats."""
    scaled = of_unit_spread(logits, contrast_of)
    losses = {name: float(calibrated_losses(each, labels).mean()) for name, each in scaled.items()}
    temperature = best_temperature(scaled[min(losses, key=lambda name: losses[name])], labels)
    answers = {name: special.log_softmax(each / temperature, axis=1) for name, each in scaled.items()}
    entropies = {name: special.entr(np.exp(each)).sum(axis=1) for name, each in answers.items()}
    return {name: losses_of(each, labels) for name, each in answers.items()}, entropies


def of_unit_spread(logits: Mapping[str, np.ndarray], contrast_of: Callable[[str], str]) -> dict[str, np.ndarray]:
    """float64 (N, num_classes): those of an image have the mean 0, all of one contrast together the deviation 1."""
    centred = {name: each - each.mean(axis=1, keepdims=True, dtype=np.float64) for name, each in logits.items()}
    squares: dict[str, list[float]] = {}
    for name, each in centred.items():
        squares.setdefault(contrast_of(name), []).append(float(np.square(each).mean()))
    spreads = {contrast: float(np.sqrt(np.mean(found))) or 1.0 for contrast, found in squares.items()}
    return {name: each / spreads[contrast_of(name)] for name, each in centred.items()}


def losses_of(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 (N,), in nats, of (N, num_classes)."""
    found: np.ndarray = -log_probabilities[np.arange(len(labels)), labels]
    return found


def distance(losses: np.ndarray, others: np.ndarray) -> float:
    """How much greater losses of the same images are than others, float (N,), in standard errors of the difference."""
    greater = losses - others
    error = standard_error(greater)
    return float(greater.mean() / error) if error > 0 else 0.0


def standard_error(values: np.ndarray) -> float:
    """Of the mean of float (N,)."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.inf
