"""Files of weights as `keras.applications` publishes them, written by Keras from networks with random weights."""

from pathlib import Path

import h5py
import keras
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from tests.random_weights import randomise


def application(kind: str, num_classes: int = 1000, **options: object) -> keras.Model:
    """A network of `keras.applications`: random kernels, biases and statistics; logits come out."""
    network = getattr(keras.applications, kind)(
        weights=None, classes=num_classes, classifier_activation=None, **options
    )
    return randomise(network)


def write_keras_file(path: Path, network: keras.Model) -> Path:
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, network)
    return path


def small_network() -> keras.Model:
    stack = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv"), keras.layers.Flatten()]
    return keras.Sequential([*stack, keras.layers.Dense(2, name="predictions")])
