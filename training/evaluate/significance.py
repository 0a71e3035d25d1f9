"""What a difference between two models on the same images is worth."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

Z_95 = 1.959964  # standard deviations of a normal that hold 95 %
POWER = 0.8  # the probability with which a difference is to be found
Z_POWER = 0.841621  # the quantile of the normal at POWER
DISAGREEMENT = 0.05  # the share of images on which two models of about the same accuracy differ in being right


class Paired(NamedTuple):
    """How many of the same images both, only one, or neither of two models classified correctly."""

    both: int
    only_champion: int
    only_challenger: int
    neither: int

    @classmethod
    def of(cls, champion: np.ndarray, challenger: np.ndarray) -> "Paired":
        """Of bool (N,) each: whether it was right."""
        counts = ((champion & challenger), (champion & ~challenger), (~champion & challenger), ~(champion | challenger))
        return cls(*(int(count.sum()) for count in counts))

    @property
    def num_images(self) -> int:
        return sum(self)

    @property
    def difference(self) -> float:
        """In accuracy: positive where the challenger is better; 0 of nothing."""
        return (self.only_challenger - self.only_champion) / max(self.num_images, 1)

    @property
    def disagreement(self) -> float:
        """The share of images on which one model is right and the other is not; half a pair is added to each cell."""
        return (self.only_champion + self.only_challenger + 1) / (self.num_images + 2)

    def interval(self, z: float = Z_95) -> tuple[float, float]:
        """Of the difference: half a pair is added to each cell (Agresti and Min, 2005, https://doi.org/10.1002/sim.1781)."""
        losses, gains, total = self.only_champion + 0.5, self.only_challenger + 0.5, self.num_images + 2
        middle = (gains - losses) / total
        half = z * np.sqrt(gains + losses - (gains - losses) ** 2 / total) / total
        return max(-1.0, float(middle - half)), min(1.0, float(middle + half))

    def p_value(self) -> float:
        """McNemar's exact test, of two sides: how likely so unequal a share of the disagreements is by chance."""
        disagreements = self.only_champion + self.only_challenger
        if not disagreements:
            return 1.0
        return float(stats.binomtest(self.only_challenger, disagreements, 0.5).pvalue)


def detectable_difference(num_images: int, disagreement: float = DISAGREEMENT) -> float:
    """The smallest difference in accuracy between two models that so many images show with a probability of 80 %.

    It is the one that McNemar's test, of two sides at 5 %, finds with that power (Connor, 1987,
    https://doi.org/10.2307/2531961, where the difference is small beside the disagreement).

    Args:
        disagreement: the share of the images on which one of the two models is right and the other is not.
    """
    return float((Z_95 + Z_POWER) * np.sqrt(disagreement / num_images))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which of several hypotheses are rejected, all of them wrongly rejected no more often than alpha.

    Holm, 1979, https://www.jstor.org/stable/4615733.
    """
    order = np.argsort(p_values, kind="stable")
    rejected = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def binomial_p_value(successes: int, trials: int, share: float, side: Literal["less", "greater"]) -> float:
    """P-value of the exact binomial test that the true share is less, or greater, than this one."""
    return float(stats.binomtest(successes, trials, share, alternative=side).pvalue) if trials else 1.0


def fisher_p_value(ours: tuple[int, int], theirs: tuple[int, int]) -> float:
    """P-value of Fisher's exact test that (events, trials) of ours come of a higher share than theirs."""
    table = [[ours[0], ours[1] - ours[0]], [theirs[0], theirs[1] - theirs[0]]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)
