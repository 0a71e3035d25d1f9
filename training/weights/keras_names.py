"""From the layers of a file of `keras.applications` to those of the network here that computes the same.

Keras takes such a file's layers in the order of its own network's, and by no name; so does this. Their ResNets stride
in the 1x1, as those called `resnet50_v1` do, have a bias before each batch normalisation, and an epsilon of 1.001e-5
in it, where ours have 1e-5. The bias moves into the mean that is subtracted next, and the difference of the epsilons
into the variance to which they are added, so that the answers stay the same.
"""

import re

import keras
import numpy as np

from models.networks.summary import without_values
from training.weights.convert import set_weights
from training.weights.keras_file import StoredLayer
from training.weights.torch_file import BadWeights

APPLICATIONS = {
    "resnet50_v1": "ResNet50",
    "resnet101_v1": "ResNet101",
    "resnet152_v1": "ResNet152",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "inception_v3": "InceptionV3",
}
EPSILON_DIFFERENCE = 1.001e-5 - 1e-5
Values = dict[str, list[np.ndarray]]  # by the name of a layer


def assign_keras(network: keras.Model, stored: list[StoredLayer]) -> None:
    """Give a network of `APPLICATIONS` the layers of its file.

    Raises:
        BadWeights: they are not those of this network.
    """
    theirs = named(stored, their_layers(network.name, network.output_shape[-1]), APPLICATIONS[network.name])
    if network.name.startswith("resnet"):
        values = resnet_values(theirs)
    elif network.name.startswith("vgg"):
        values = dict(zip((layer.name for layer in network.layers if layer.weights), theirs.values(), strict=True))
    else:
        values = values_in_order(network, theirs)
    for layer in network.layers:
        if layer.weights:
            set_weights(layer, values[layer.name], f"the file's layer for {layer.name}")


def their_layers(name: str, num_classes: int) -> list[keras.Layer]:
    """The layers of Keras's own network that have weights, without values."""
    with without_values():
        model = getattr(keras.applications, APPLICATIONS[name])(weights=None, classes=num_classes)
    return [layer for layer in model.layers if layer.weights]


def named(stored: list[StoredLayer], theirs: list[keras.Layer], application: str) -> Values:
    """The arrays of a file under the names of Keras's own layers.

    Raises:
        BadWeights: number or shapes of the layers are not those of Keras's network.
    """
    if len(stored) != len(theirs):
        raise BadWeights(
            f"The file has {len(stored)} layers with weights, and keras.applications.{application} has {len(theirs)}: "
            "it is of another network, or without its last layer (`notop`)."
        )
    for found, layer in zip(stored, theirs, strict=True):
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if found.shapes != wanted:
            raise BadWeights(
                f"The file's layer {found.name} has {found.shapes}, and {layer.name} of keras.applications."
                f"{application} has {wanted}: the file is of another network."
            )
    return {layer.name: found.arrays for found, layer in zip(stored, theirs, strict=True)}


def resnet_values(theirs: Values) -> Values:
    """conv2_block1_0_conv is conv2_block1_shortcut here, and conv2_block1_0_bn is conv2_block1_shortcut_bn."""
    values = {"logits": theirs["predictions"]}
    for name in theirs:
        if not name.endswith("_conv"):
            continue
        stem = name.removesuffix("_conv")
        kernel, bias = theirs[name]
        gamma, beta, mean, variance = theirs[f"{stem}_bn"]
        own = re.sub("_0$", "_shortcut", stem)
        values[own] = [kernel]
        values[f"{own}_bn"] = [gamma, beta, mean - bias, variance + np.float32(EPSILON_DIFFERENCE)]
    return values


def values_in_order(network: keras.Model, theirs: Values) -> Values:
    """Where no layer has a name of its own, those of a kind correspond in the order in which they were made."""
    values = {"logits": theirs["predictions"]}
    for kind, beginning in ((keras.layers.Conv2D, "conv2d"), (keras.layers.BatchNormalization, "batch_normalization")):
        ours = sorted((layer.name for layer in network.layers if isinstance(layer, kind)), key=serial)
        others = sorted((name for name in theirs if name.startswith(beginning)), key=serial)
        values |= {name: theirs[other] for name, other in zip(ours, others, strict=True)}
    return values


def serial(name: str) -> int:
    """The number at the end of a name that Keras made; the first one has none."""
    found = re.search(r"_(\d+)$", name)
    return int(found[1]) if found else 0
