"""Averaged weights: their statistics of batch normalisation fit them, and the model's own weights come back."""

import keras
import numpy as np
import pytest

from training.network.averaging import SETTLING_STEPS, Lookahead, evaluation_weights, value_of

RNG = np.random.default_rng(0)
BATCHES = [RNG.integers(0, 256, (16, 8, 8, 3)).astype(np.uint8) for _ in range(4)]


def trained(decay: float, *, steps: int = 20) -> keras.Model:
    """A convolution with batch normalisation, whose weights have moved far in a few large steps."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.BatchNormalization(momentum=0.9, name="norm"),
            keras.layers.Dropout(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05, use_ema=decay > 0, ema_momentum=decay), loss="mse")
    for step in range(steps):
        model.train_on_batch(BATCHES[step % 4], RNG.normal(size=(16, 2)))
    return model


def statistics_of(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the convolution's output, as the weights of this moment give it."""
    before_norm = keras.Model(model.inputs[0], model.get_layer("conv").output)
    outputs = [np.asarray(before_norm(batch)) for batch in BATCHES]
    means = np.mean([output.mean(axis=(0, 1, 2)) for output in outputs], axis=0)
    return means, np.mean([output.var(axis=(0, 1, 2)) for output in outputs], axis=0)


def test_statistics_are_those_of_the_averaged_weights() -> None:
    model = trained(0.98)
    norm = model.get_layer("norm")
    with evaluation_weights(model, BATCHES, step=SETTLING_STEPS):
        mean, variance = statistics_of(model)
        np.testing.assert_allclose(value_of(norm.moving_mean), mean, atol=1e-5)
        np.testing.assert_allclose(value_of(norm.moving_variance), variance, rtol=1e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_the_models_own_weights_statistics_and_seeds_come_back_also_after_an_exception(fails: bool) -> None:
    model = trained(0.98)
    before = [value_of(variable) for variable in model.variables]
    try:
        with evaluation_weights(model, BATCHES, step=SETTLING_STEPS):
            assert np.abs(value_of(model.trainable_variables[0]) - before[0]).max() > 1e-3
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(value_of(variable), value)


def test_statistics_are_the_models_own_at_the_beginning_of_a_run() -> None:
    """After two steps the moving ones are still nearly those of no image at all."""
    model = trained(0.0, steps=2)
    norm = model.get_layer("norm")
    mean, _ = statistics_of(model)
    assert np.abs(value_of(norm.moving_mean) - mean).max() > 0.05
    with evaluation_weights(model, BATCHES, step=2):
        np.testing.assert_allclose(value_of(norm.moving_mean), mean, atol=1e-5)


def test_a_model_without_an_average_is_left_alone_once_its_statistics_have_settled() -> None:
    model = trained(0.0, steps=2)
    before = [value_of(variable) for variable in model.variables]
    with evaluation_weights(model, BATCHES, step=SETTLING_STEPS):
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(value_of(variable), value)


def test_lookahead_averages_the_statistics_together_with_the_weights() -> None:
    model = trained(0.0, steps=4)
    average = Lookahead(model, every=2, num_steps=100)
    norm = model.get_layer("norm")
    before = value_of(norm.moving_mean)
    for step in (1, 2):
        model.train_on_batch(BATCHES[step], RNG.normal(size=(16, 2)))
        fast = value_of(norm.moving_mean)
        average.update(step)
    kept = 0.95**2 * 0.02**3
    np.testing.assert_allclose(value_of(norm.moving_mean), kept * before + (1 - kept) * fast, rtol=1e-6)
