"""The learning rate range test of Smith (2017, https://arxiv.org/abs/1506.01186): at which rate training diverges.

The rate rises from almost nothing, by the same factor each step. The loss falls when the rate begins to matter, and
rises beyond all bounds, or falls no more, when it is too high.
"""

import math
from dataclasses import dataclass
from itertools import chain, count

import keras
import numpy as np

from training.fit.loop import Diverged
from training.fit.setup import Ready
from training.network.optimizers import optimizer_for

LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHED_OVER = 0.05  # of the steps
MAX_LOSS_RATIO = 4.0  # times the lowest loss, at which the test ends


@dataclass(frozen=True, slots=True)
class RangeTest:
    rates: list[float]  # rates, losses: one value per step; losses are smoothed
    losses: list[float]

    @property
    def suggestion(self) -> float:
        """A peak for the schedule: the rate at which the loss had fallen halfway to its lowest, and fell fast."""
        first, lowest = np.mean(self.losses[: max(1, len(self.losses) // 10)]), min(self.losses)
        return self.rates[int(np.argmax(np.array(self.losses) <= (first + lowest) / 2))]


def find_rate(ready: Ready, num_steps: int) -> RangeTest:
    """Train for `num_steps` steps at rising rates; discard the network afterwards.

    Raises:
        Diverged: the loss was no number from the first step on.
    """
    rising = keras.optimizers.schedules.ExponentialDecay(LOWEST, num_steps - 1, HIGHEST / LOWEST)
    ready.model.compile(optimizer_for(ready.settings, rising, ready.model.trainable_variables), loss=ready.loss)
    rates: list[float] = []
    losses: list[float] = []
    mean, kept = 0.0, max(0.0, 1 - 1 / (SMOOTHED_OVER * num_steps))
    batches = chain.from_iterable(map(ready.batches.rest_of_epoch, count()))
    steps = zip(np.geomspace(LOWEST, HIGHEST, num_steps), batches, strict=False)
    for step, (rate, (images, targets)) in enumerate(steps, start=1):
        loss = float(ready.model.train_on_batch(images, targets, return_dict=True)["loss"])
        mean = kept * mean + (1 - kept) * loss
        smoothed = mean / (1 - kept**step)  # as if the mean had not begun at 0
        if not math.isfinite(loss) or (losses and smoothed > MAX_LOSS_RATIO * min(losses)):
            break
        rates.append(float(rate))
        losses.append(smoothed)
    if not losses:
        raise Diverged(
            f"No learning rate can be suggested: the loss is {loss} at the first step, at a rate of {LOWEST:g}. "
            "Try --precision float32, or another --model."
        )
    return RangeTest(rates, losses)
