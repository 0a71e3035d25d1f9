"""Our batch normalisation is Keras's, in outputs, gradients and moving statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from models.networks.batch_norm import BatchNormalization

IMAGES = np.random.default_rng(0).normal(3, 2, (6, 5, 4, 3)).astype(np.float32)


WEIGHTS = np.random.default_rng(1).normal(size=IMAGES.shape).astype(np.float32)  # of the loss, on the outputs


def trained_on_a_batch(layer: keras.Layer) -> list[np.ndarray]:
    """Outputs, gradients, moving statistics, and outputs at inference."""
    inputs = tf.constant(IMAGES)
    layer.build(inputs.shape)
    for weight in layer.trainable_variables:
        weight.assign(np.linspace(0.5, 1.5, 3))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * WEIGHTS)
    gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
    found = [outputs, *gradients, layer.moving_mean, layer.moving_variance, layer(inputs, training=False)]
    return [keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")) for value in found]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.05)])
def test_a_batch_is_normalised_and_remembered_as_by_keras(scale: bool, precision: str, tolerance: float) -> None:
    options = {"momentum": 0.8, "epsilon": 1e-5, "scale": scale, "dtype": precision}
    ours, theirs = (trained_on_a_batch(kind(**options)) for kind in (BatchNormalization, layers.BatchNormalization))
    assert len(ours) == 6 + scale
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_frozen_layer_normalises_by_what_it_remembers() -> None:
    layer = BatchNormalization(epsilon=0)
    layer.trainable = False
    np.testing.assert_allclose(layer(IMAGES, training=True), IMAGES, rtol=1e-6)
    np.testing.assert_array_equal(layer.moving_mean, 0)
