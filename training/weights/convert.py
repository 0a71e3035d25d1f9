"""From the tensors of a PyTorch state dict to the weights of a network here: by names, and exactly."""

from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np

from training.weights.torch_file import BadWeights

Tensors = Mapping[str, np.ndarray]


def assign(network: keras.Model, tensors: Tensors, prefix_of: Callable[[str], str]) -> None:
    """Give every layer of a network its weights.

    Args:
        prefix_of: from a layer's name to the beginning of its tensors' names.

    Raises:
        BadWeights: a tensor is missing, has another shape, is left over, or holds a number that is not finite.
    """
    used: set[str] = set()
    for layer in network.layers:
        if not layer.weights:
            continue
        prefix = prefix_of(layer.name)
        values = []
        for name, value in tensors_of(layer, prefix, tensors):
            used.add(name)
            values.append(value)
        set_weights(layer, values, prefix)
    left = [name for name in tensors if name not in used and not name.endswith("num_batches_tracked")]
    if left:
        raise BadWeights(f"{len(left)} tensors are of no layer, such as {left[0]}: the file is of another network.")


def set_weights(layer: keras.Layer, values: list[np.ndarray], source: str) -> None:
    """
    Args:
        source: what the file calls them, for the error.

    Raises:
        BadWeights: they have other shapes than the layer's, or a number is not finite.
    """
    wanted = [tuple(weight.shape) for weight in layer.weights]
    found = [value.shape for value in values]
    if wanted != found:
        raise BadWeights(f"The layer {layer.name} needs {wanted}, and {source} has {found}.")
    if not all(np.isfinite(value).all() for value in values):
        raise BadWeights(f"{source} holds a number that is not finite: the file is of a training that failed.")
    layer.set_weights(values)


def tensors_of(layer: keras.Layer, prefix: str, tensors: Tensors) -> Iterator[tuple[str, np.ndarray]]:
    """(its name in the file, the array as the layer keeps it), in the order of the layer's weights."""
    for name, transform in forms(layer):
        full = f"{prefix}.{name}"
        if full not in tensors:
            raise BadWeights(f"The file has no tensor {full}, which the layer {layer.name} needs.")
        try:
            yield full, transform(tensors[full])
        except ValueError:  # another number of axes
            raise BadWeights(
                f"{full} has the shape {tensors[full].shape}, which is none of a {type(layer).__name__}."
            ) from None


def forms(layer: keras.Layer) -> list[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Of each weight of a layer: its name in PyTorch, and how the array is turned."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [(name, as_it_is) for name in ("weight", "bias", "running_mean", "running_var")]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = ("weight", lambda value: value.transpose(2, 3, 0, 1))  # (C, 1, h, w) -> (h, w, C, 1)
    elif isinstance(layer, keras.layers.Conv2D):
        kernel = ("weight", lambda value: value.transpose(2, 3, 1, 0))  # (O, I, h, w) -> (h, w, I, O)
    else:
        kernel = ("weight", lambda value: value.reshape(len(value), -1).T)  # (O, I) or (O, I, 1, 1) -> (I, O)
    return [kernel, ("bias", as_it_is)] if layer.use_bias else [kernel]


def as_it_is(value: np.ndarray) -> np.ndarray:
    return value
