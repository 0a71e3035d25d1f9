"""Random networks that tell pictures apart, without training: their answers depend on every weight and on the scaling.

A network as Keras makes it gives nearly the same probability to every class, whatever its input; then the wrong
scaling changes nothing either, and a comparison of answers proves nothing.
"""

from typing import Any

import numpy as np

from benchmarks.others.pictures import KINDS, pictures

NUM_FITTED = 160  # pictures
BATCH = 32
RIDGE = 0.1  # times the mean square of the features: keeps the last layer's weights small
SPREAD = 1.0  # deviation of the logits, with which probabilities differ and are not all 0 and 1


def fit(model: Any, library: Any, scale: Any, side: int) -> None:
    """Give a network statistics of pictures, and a last layer that tells their kinds.

    Args:
        model: of `library`, which is Keras or Keras 2; its last layer with a kernel has a unit for each kind.
        scale: float32 pixels (B, H, W, 3) -> what the network takes.
    """
    images, kinds = pictures(NUM_FITTED, side, seed=1)
    given = np.asarray(scale(images.astype(np.float32)), np.float32)
    layers = flat(model)
    randomise(layers)
    fit_statistics(model, [layer for layer in layers if hasattr(layer, "moving_mean")], given[: 2 * BATCH])
    head = [layer for layer in layers if hasattr(layer, "kernel")][-1]
    features = features_of(model, library, head).predict(given, batch_size=BATCH, verbose=0)
    fit_head(head, features.reshape(len(features), -1), kinds)


def flat(model: Any) -> list[Any]:
    """The layers, those of models inside it too."""
    return [inner for layer in model.layers for inner in (flat(layer) if hasattr(layer, "layers") else [layer])]


def randomise(layers: list[Any]) -> None:
    """Random biases, scales and shifts; the kernels are random already."""
    generator = np.random.default_rng(0)
    for layer in layers:
        if type(layer).__name__ == "Normalization":  # of pixels
            continue
        for variable in layer.trainable_variables:
            name = variable.name.split("/")[-1].split(":")[0]
            if name == "gamma" or variable is getattr(layer, "gamma", None):
                variable.assign(generator.uniform(0.5, 1.5, variable.shape))
            elif name in ("beta", "bias"):
                variable.assign(generator.normal(0, 0.1, variable.shape))


def fit_statistics(model: Any, normalizations: list[Any], given: np.ndarray) -> None:
    """Each batch normalization keeps the statistics of one batch whole."""
    before = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    if normalizations:
        model(given, training=True)
    for layer, momentum in zip(normalizations, before, strict=True):
        layer.momentum = momentum


def features_of(model: Any, library: Any, head: Any) -> Any:
    """The network up to the input of its last layer; of a Sequential, whose layers may be models, all but the last."""
    if head not in model.layers:
        *first, last = model.layers
        inner = [features_of(last, library, head)] if last.layers[0] is not head else []
        return library.Sequential([*first, *inner])
    return library.Model(model.inputs, head.input)


def fit_head(head: Any, features: np.ndarray, kinds: np.ndarray) -> None:
    """Ridge regression on the kinds."""
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    products = centred @ centred.T
    products += RIDGE * np.trace(products) / len(features) * np.eye(len(features))
    kernel = centred.T @ np.linalg.solve(products, np.eye(len(KINDS))[kinds] - 1 / len(KINDS))
    kernel *= SPREAD / (centred @ kernel).std()
    head.kernel.assign(kernel.reshape(head.kernel.shape))
    head.bias.assign(-(mean @ kernel))
