"""SGD and Adam with weight decay coupled to the gradient, as the papers up to 2015 have it.

Keras's own `weight_decay` is decoupled: it scales weights by 1 - rate * decay beside the optimiser's step (Loshchilov
and Hutter, 2017, https://arxiv.org/abs/1711.05101). Its L2 regulariser is coupled, but adds the penalty to every loss
that is shown, and to the validation loss by which the best weights would be chosen.
"""

from typing import Any

import keras

from training.settings import Decayed, Settings


class CoupledWeightDecay(keras.optimizers.Optimizer):
    """Mixed into an optimiser: the coefficient times the weight is part of its gradient."""

    coefficient: float
    decayed: Decayed

    def apply(self, grads: list[Any], trainable_variables: list[keras.Variable] | None = None) -> None:
        """What Keras calls with the gradients of a step."""
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        pairs = zip(grads, variables, strict=True)
        super().apply([self.decay(gradient, variable) for gradient, variable in pairs], trainable_variables)

    def decay(self, gradient: Any, variable: keras.Variable) -> Any:
        if not self.coefficient or (self.decayed == "kernels" and variable.name != "kernel"):
            return gradient
        return gradient + self.coefficient * keras.ops.cast(variable, gradient.dtype)


class SGD(CoupledWeightDecay, keras.optimizers.SGD):
    pass


class Adam(CoupledWeightDecay, keras.optimizers.Adam):
    pass


def optimizer_for(
    settings: Settings, rate: float | keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    clip_norm = settings.clip_norm or None
    optimizer = (
        Adam(rate, global_clipnorm=clip_norm)
        if settings.optimizer == "adam"
        else SGD(rate, momentum=settings.momentum, nesterov=settings.nesterov, global_clipnorm=clip_norm)
    )
    optimizer.coefficient, optimizer.decayed = settings.weight_decay, settings.decayed
    return optimizer
