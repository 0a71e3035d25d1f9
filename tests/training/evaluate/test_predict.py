"""A network's answers come in the order of the rows, whatever the size of its batches."""

import keras
import numpy as np
import pytest

from training.evaluate.predict import logits_of

IMAGES = np.arange(40, dtype=np.uint8).reshape(40, 1)


@pytest.mark.parametrize("batch_size", [1, 7, 10, 64])
@pytest.mark.parametrize("heads", [1, 2])
def test_every_image_is_answered_once_in_order(batch_size: int, heads: int) -> None:
    images = keras.Input((1,), dtype="uint8")
    own = keras.layers.Rescaling(2.0)(images)
    other = keras.layers.Rescaling(3.0)(images)
    model = keras.Model(images, own if heads == 1 else {"logits": own, "auxiliary": other})
    rows = np.arange(5, 35)[::-1]
    np.testing.assert_array_equal(logits_of(model, IMAGES, rows, batch_size)[:, 0], 2.0 * rows)
    assert logits_of(model, IMAGES, rows[:0], batch_size).shape == (0, 1)
