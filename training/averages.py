"""Weights averaged over the steps: the optimiser's moving average, and lookahead."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

KEPT = 0.95  # of the slow weights in a step at the end of the run (Jordan, 2024, https://arxiv.org/abs/2404.00498)


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Within this the model has the moving average of its weights, where its optimiser keeps one."""
    if not model.optimizer.use_ema:
        yield
        return
    weights = model.trainable_variables
    own = [value_of(weight) for weight in weights]
    model.optimizer.finalize_variable_values(weights)
    for weight in weights:
        weight.assign(value_of(weight))
    yield
    for weight, value in zip(weights, own, strict=True):
        weight.assign(value)


class Lookahead:
    """Slow weights that follow the fast ones, which start from them again every few steps (Zhang et al., 2019,
    https://arxiv.org/abs/1907.08610); they follow at once at first and ever more slowly later, as Jordan (2024) has it.

    Attributes:
        variables: the slow weights and statistics.
    """

    def __init__(self, model: keras.Model, every: int, num_steps: int) -> None:
        """
        Args:
            every: steps; 0 is off.
            num_steps: of the run.
        """
        self._every, self._num_steps = every, num_steps
        self._fast = [v for v in model.variables if "float" in v.dtype] if every else []
        self.variables = [keras.Variable(value_of(fast), trainable=False) for fast in self._fast]

    def update(self, step: int) -> None:
        """After each step, counted from 1."""
        if not self._every or (step % self._every and step < self._num_steps):
            return
        kept = KEPT**self._every * (step / self._num_steps) ** 3 if step < self._num_steps else 1.0
        for slow, fast in zip(self.variables, self._fast, strict=True):
            slow.assign(kept * slow + (1 - kept) * fast)
            fast.assign(value_of(slow))


def value_of(variable: keras.Variable) -> np.ndarray:
    """A copy: of an array in two variables JAX would delete one, and so both, in the next step."""
    return np.array(ops.convert_to_numpy(variable))
