"""SGD and Adam with weight decay coupled to the gradient, as the papers up to 2015 have it; and a schedule of lines.

Keras's own `weight_decay` is decoupled: it scales weights by 1 - rate * decay beside the optimiser's step (Loshchilov
and Hutter, 2017, https://arxiv.org/abs/1711.05101). Its L2 regulariser is coupled, but adds the penalty to every loss
that is shown, and to the validation loss by which the best weights would be chosen.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
from keras import ops

from training.config.settings import DecayParams, Settings

LONGEST_WARMUP = 0.3  # share of the steps of a run with the schedule `cosine`
START, END = 0.2, 0.07  # of one cycle, as shares of its peak (Jordan, 2024, https://arxiv.org/abs/2404.00498)


class CoupledWeightDecay(keras.optimizers.Optimizer):
    """Mixed into an optimiser: the coefficient times the weight is part of its gradient.

    Gradients of the loss are clipped first, by their global norm; then the shifts of batch normalisation may get a
    multiple of the learning rate, and then the weight decay is added. Neither is part of what is clipped, and the decay
    of a shift is not multiplied.
    """

    clip_norm: float
    coefficient: float
    decay_params: DecayParams
    bn_bias_lr_scale: float
    _learning_first: frozenset[str] = frozenset()
    _frozen_steps: int = 0

    def freeze(self, learning: Sequence[keras.Variable], num_steps: int) -> None:
        """Train only `learning` for `num_steps` steps; batch-norm statistics of the other layers still change."""
        self._learning_first, self._frozen_steps = frozenset(variable.path for variable in learning), num_steps

    def apply(self, grads: list[Any], trainable_variables: list[keras.Variable] | None = None) -> None:
        """What Keras calls with the gradients of a step."""
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        grads = [self.unless_frozen(gradient, variable) for gradient, variable in zip(grads, variables, strict=True)]
        if self.clip_norm:
            grads = clipped(grads, self.clip_norm)
        changed = [self.with_decay(gradient, variable) for gradient, variable in zip(grads, variables, strict=True)]
        super().apply(changed, trainable_variables)

    def with_decay(self, gradient: Any, variable: keras.Variable) -> Any:
        if variable.name == "beta" and self.bn_bias_lr_scale != 1:
            gradient = gradient * self.bn_bias_lr_scale
        if self.coefficient and (self.decay_params == "all" or variable.name == "kernel"):
            decay = self.coefficient * ops.cast(variable, gradient.dtype)
            gradient = gradient + self.unless_frozen(decay, variable)
        return gradient

    def unless_frozen(self, change: Any, variable: keras.Variable) -> Any:
        """The change of a variable, or 0 as long as the variable is frozen."""
        if not self._frozen_steps or variable.path in self._learning_first:
            return change
        return change * ops.cast(self.iterations >= self._frozen_steps, change.dtype)


def clipped(grads: list[Any], norm: float) -> list[Any]:
    """Scale gradients down together, so that their global norm is at most `norm` (Pascanu et al., 2013)."""
    squares = sum(ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in grads)
    scale = ops.minimum(1.0, norm / ops.maximum(ops.sqrt(squares), 1e-12))
    return [gradient * ops.cast(scale, gradient.dtype) for gradient in grads]


class SGD(CoupledWeightDecay, keras.optimizers.SGD):
    pass


class Adam(CoupledWeightDecay, keras.optimizers.Adam):
    pass


def optimizer_for(
    settings: Settings, rate: float | keras.optimizers.schedules.LearningRateSchedule, variables: list[keras.Variable]
) -> keras.optimizers.Optimizer:
    """
    Args:
        variables: those that are trained.
    """
    options = {
        "weight_decay": settings.decoupled_weight_decay or None,
        "use_ema": settings.ema > 0,
        "ema_momentum": settings.ema,
    }
    optimizer = (
        Adam(rate, **options)
        if settings.optimizer == "adam"
        else SGD(rate, momentum=settings.momentum, nesterov=settings.nesterov, **options)
    )
    optimizer.clip_norm = settings.clip_norm
    optimizer.coefficient, optimizer.decay_params = settings.weight_decay, settings.decay_params
    optimizer.bn_bias_lr_scale = settings.bn_bias_lr_scale
    if settings.decoupled_weight_decay and settings.decay_params == "kernels":
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if v.name != "kernel"])
    return optimizer


class PiecewiseLinear(keras.optimizers.schedules.LearningRateSchedule):
    """Straight lines between (step, rate) points; the last rate ever after."""

    def __init__(self, points: list[tuple[float, float]]) -> None:
        self.points = points

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rate = ops.convert_to_tensor(self.points[0][1], "float32")
        for (start, low), (end, high) in pairwise(self.points):
            share = ops.clip((step - start) / (end - start), 0, 1)
            rate = rate + (high - low) * share
        return rate


def learning_rate(
    settings: Settings, *, num_steps: int, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A function of the step; of `plateau` only the start, since the rest depends on what validation finds."""
    peak, schedules = settings.learning_rate, keras.optimizers.schedules
    if settings.schedule == "cosine":
        warmup_steps = min(settings.warmup_epochs * steps_per_epoch, int(LONGEST_WARMUP * num_steps))
        return schedules.CosineDecay(
            0.0 if warmup_steps else peak,
            decay_steps=max(1, num_steps - warmup_steps),
            warmup_target=peak if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
    if settings.schedule == "one-cycle":
        points = [(0.0, START), (settings.peak_at * num_steps, 1.0), (float(num_steps), END)]
        return PiecewiseLinear([(step, share * peak) for step, share in points])
    if settings.schedule == "steps":
        # A boundary is the last step at the rate before it: Keras compares with <=.
        boundaries = [round(fraction * num_steps) - 1 for fraction in settings.drop_at]
        return schedules.PiecewiseConstantDecay(
            boundaries, [peak * settings.drop_factor**i for i in range(len(boundaries) + 1)]
        )
    if settings.schedule == "exponential":
        return schedules.ExponentialDecay(
            peak, settings.drop_every * steps_per_epoch, settings.drop_factor, staircase=True
        )
    return peak
