"""Networks whose every weight matters: with the values that Keras begins with, many would cancel out."""

import keras
import numpy as np


def randomise(network: keras.Model) -> keras.Model:
    """The network with random biases, scales, shifts and statistics; its kernels are random already."""
    rng = np.random.default_rng(0)
    for layer in network.layers:
        for variable in layer.variables:
            if variable.name in ("gamma", "moving_variance"):
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
            elif variable.name != "kernel":
                variable.assign(rng.normal(0, 0.1, variable.shape))
    return network
