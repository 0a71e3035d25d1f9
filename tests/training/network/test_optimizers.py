"""One step of the optimiser, beside the formula: what is clipped, what decays, what learns faster."""

import keras
import numpy as np
import pytest

from training.config.settings import Settings
from training.network.optimizers import optimizer_for

PLAIN = {"momentum": 0.0, "nesterov": False, "clip_norm": 0.0, "weight_decay": 0.0}


def stepped(gradients: dict[str, float], start: float = 100.0, **settings: object) -> dict[str, float]:
    """How far each variable of these names moves in one step of learning rate 1."""
    variables = [keras.Variable(np.array([start], "float32"), name=name) for name in gradients]
    chosen = Settings("lenet5", 1.0, **{**PLAIN, **settings})  # type: ignore[arg-type]
    optimizer = optimizer_for(chosen, 1.0, variables)
    optimizer.build(variables)
    optimizer.apply([keras.ops.convert_to_tensor([value], "float32") for value in gradients.values()], variables)
    return {name: start - float(v.numpy()[0]) for name, v in zip(gradients, variables, strict=True)}


def test_gradients_are_clipped_before_the_decay_is_added() -> None:
    """A decay of 0.5 of a weight of 100 is no reason to shorten a gradient of 0.1."""
    moved = stepped({"kernel": 0.1}, clip_norm=1.0, weight_decay=0.5)
    assert moved["kernel"] == pytest.approx(50.1, abs=1e-4)


def test_gradients_are_clipped_together_by_their_global_norm() -> None:
    moved = stepped({"kernel": 3.0, "bias": 4.0}, clip_norm=1.0)
    assert moved == {"kernel": pytest.approx(0.6, abs=1e-4), "bias": pytest.approx(0.8, abs=1e-4)}
    assert stepped({"kernel": 3.0, "bias": 4.0}, clip_norm=6.0)["bias"] == pytest.approx(4, abs=1e-4)


def test_the_rate_of_batch_normalisations_shifts_has_no_part_in_the_clipping() -> None:
    moved = stepped({"beta": 3.0, "kernel": 4.0}, clip_norm=1.0, bn_bias_lr_scale=64.0, start=1.0)
    assert moved == {"beta": pytest.approx(64 * 0.6, rel=1e-4), "kernel": pytest.approx(0.8, rel=1e-4)}


def test_the_decay_of_a_shift_is_not_multiplied_by_its_rate() -> None:
    moved = stepped({"beta": 0.0}, bn_bias_lr_scale=64.0, weight_decay=0.5, decay_params="all")
    assert moved["beta"] == pytest.approx(50)


def test_a_frozen_variable_neither_moves_nor_shortens_the_gradients_of_those_that_learn() -> None:
    variables = [keras.Variable(np.array([100.0], "float32"), name=name) for name in ("kernel", "bias")]
    optimizer = optimizer_for(
        Settings("lenet5", 1.0, **{**PLAIN, "clip_norm": 1.0, "weight_decay": 0.5}), 1.0, variables
    )
    optimizer.build(variables)
    optimizer.freeze(variables[1:], num_steps=1)
    optimizer.apply([keras.ops.convert_to_tensor([1000.0]), keras.ops.convert_to_tensor([0.5])], variables)
    assert [float(v.numpy()[0]) for v in variables] == [100.0, pytest.approx(99.5)]
