"""Run an exported SavedModel with TensorFlow alone, as any third party would."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def load_signatures(bundle: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """{signature: its one input as an array -> probabilities float32 (N, num_classes)}."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(bundle))

    def runner(name: str) -> Callable[[np.ndarray], np.ndarray]:
        function = loaded.signatures[name]
        (argument,) = function.structured_input_signature[1]
        return lambda value: function(**{argument: tf.constant(value)})["probabilities"].numpy()

    return {name: runner(name) for name in loaded.signatures}
