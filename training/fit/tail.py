"""Training the end of a network: the rest is computed, and never differentiated.

Of a network whose weights are good already, the last stages and the last layer are trained, from a last layer that a
regression has found (`training.fit.head`). Batch normalisation keeps its statistics, its scales and its shifts, and
depthwise kernels stay as they are: they are 5 % of the weights, and in the last stages TensorFlow takes eight to ten
times as long for their gradient as for their answer.
"""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from training.fit.frozen import BATCH_SIZE, Arrays

KEPT = (keras.layers.BatchNormalization, keras.layers.DepthwiseConv2D)  # layers whose weights stay


def cut(network: keras.Model, beginning: str) -> tuple[keras.Model, keras.Model]:
    """(images -> tensors, those tensors -> logits), which share the network's layers.

    Args:
        beginning: of the names of the first stage that is trained.
    """
    first = next(layer for layer in network.layers if layer.name.startswith(beginning))
    crossing = [first.input]
    before = {layer.name for layer in keras.Model(network.input, first.input).layers}
    crossing += [tensor for tensor in pooled_stages(network) if source_of(source_of(tensor).input).name in before]
    frozen = keras.Model(network.input, crossing)
    tail = keras.Model(crossing, network.output, name=f"{network.name}_tail")
    for layer in frozen.layers:
        layer.trainable = False
    for layer in tail.layers:
        layer.trainable = not isinstance(layer, KEPT)
    return frozen, tail


def pooled_stages(network: keras.Model) -> list[keras.KerasTensor]:
    """What a network with `multi_stage` puts side by side before its last layer; nothing of another one."""
    found = [layer for layer in network.layers if layer.name == "pooled"]
    return list(found[0].input) if found else []


def source_of(tensor: keras.KerasTensor) -> keras.Layer:
    return tensor._keras_history.operation


def logits_of_tail(
    tail: keras.Model, frozen: Callable[[np.ndarray], Arrays], images: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """float32 (N, num_classes), of uint8 images (M, H, W, C)[rows]."""
    parts: Iterator[np.ndarray] = (rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE))
    logits = [tail.predict_on_batch(frozen(images[np.resize(part, BATCH_SIZE)]))[: len(part)] for part in parts]
    return np.concatenate(logits) if logits else np.empty((0, tail.output.shape[-1]), np.float32)
