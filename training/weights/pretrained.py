"""A network with weights that others have trained, from a package or from a file that somebody brings."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from models.bundle.class_names import check_class_name
from models.errors import UserError
from models.files.durable import sha256
from models.networks.registry import architecture_of, build
from models.networks.scaling import Scaling
from training.weights.keras_file import SIGNATURE, StoredLayer, read_keras_file
from training.weights.keras_names import APPLICATIONS, assign_keras
from training.weights.published import BY_FILE, PUBLISHED
from training.weights.safetensors_file import read_safetensors
from training.weights.sources import SOURCES, MissingWeights, class_names, find_weights
from training.weights.torch_file import BadWeights, read_state_dict
from training.weights.torch_names import assign_torch, last_layer

NUM_IMAGENET = 1000  # classes
NOT_SAID = "not stated"
TORCH_NETWORKS = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"{name}{suffix}" for name in ("vgg11", "vgg_b", "vgg16", "vgg19") for suffix in ("", "_bn")),
    "alexnet",
    *(f"efficientnet_lite{i}" for i in range(5)),
)
Content = dict[str, np.ndarray] | list[StoredLayer]  # tensors of PyTorch by name, or layers of Keras in order


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Attributes:
    facts: what the lineage says of the weights: source, hash, licence, data.
    """

    network: keras.Model
    scaling: str
    class_names: tuple[str, ...]
    facts: dict[str, Any]


def from_package(name: str) -> Pretrained:
    """A network of ImageNet's 1,000 classes with the weights that a package carries.

    Raises:
        MissingWeights, BadWeights, UserError: the file is not here, or is another one.
    """
    path = find_weights(name)
    network = build(name, input_shape=architecture_of(name).input_shape, num_classes=NUM_IMAGENET)
    assign_torch(network, read_state_dict(path))
    return Pretrained(network, "signed", class_names(), asdict(SOURCES[name]))


def from_file(name: str, path: Path, *, labels: Path | None = None, scaling: Scaling | None = None) -> Pretrained:
    """A network with the weights of a file, which is known by what is in it and not by its name.

    A file that has the name of a published one has to be that.

    Args:
        labels: a text file with the name of a class in each line; None for ImageNet's 1,000 classes.
        scaling: with which the weights were trained; None is that of those who publish such files.

    Raises:
        MissingWeights: there is nothing that reads weights of this network, or ImageNet's class names are not here.
        BadWeights: the file is damaged, of another network, or not what its name says.
        UserError: the labels are not those of the file's classes.
    """
    known = BY_FILE.get(path.name)
    if known:
        known.check(path)
    content = read_content(path)
    check_form(name, path, content)
    count = num_classes(name, content)
    names = read_labels(labels, count) if labels else imagenet_names(count)
    scaling = scaling or usual_scaling(name, content)
    network = build(name, input_shape=architecture_of(name).input_shape, num_classes=count, scaling=scaling)
    if isinstance(content, dict):
        assign_torch(network, content)
    else:
        assign_keras(network, content)
    if scaling == "caffe":
        reverse_input_channels(network)
    facts = {
        "network": name,
        "file": path.name,
        "sha256": sha256(path),
        "form": "PyTorch" if isinstance(content, dict) else "Keras",
        "scaling": scaling,
        "origin": known.url if known else NOT_SAID,
        "licence": known.licence if known else NOT_SAID,
        "data": known.data if known else NOT_SAID,
    }
    return Pretrained(network, scaling, names, facts)


def read_content(path: Path) -> Content:
    """
    Raises:
        BadWeights: it is of no form that is known, or damaged.
    """
    with path.open("rb") as file:
        beginning = file.read(9)
    if beginning.startswith(SIGNATURE):
        return read_keras_file(path)
    if beginning[8:9] == b"{":
        return read_safetensors(path)
    return read_state_dict(path)


def check_form(name: str, path: Path, content: Content) -> None:
    """
    Raises:
        MissingWeights: nobody publishes weights of this network in this form, or in any.
    """
    form, networks = ("PyTorch", TORCH_NETWORKS) if isinstance(content, dict) else ("Keras", tuple(APPLICATIONS))
    if name in networks:
        return
    other = f"{name}_v1" if f"{name}_v1" in networks else name.removesuffix("_v1")
    hint = (
        f" The ResNet of such files strides elsewhere and is called {other} here: import-weights {other}."
        if other != name and other in networks
        else ""
    )
    raise MissingWeights(
        f"{path} is a file of {form}, from which weights are taken of {', '.join(networks)}, but not of {name}.{hint}"
    )


def num_classes(name: str, content: Content) -> int:
    """
    Raises:
        BadWeights: there is no last layer.
    """
    if isinstance(content, dict):
        weight = content.get(last_layer(name, content))
        if weight is None or not weight.ndim:
            raise BadWeights(f"The file has no tensor {last_layer(name, content)}, which {name} needs.")
        return len(weight)
    if not content or not content[-1].arrays[-1].ndim:
        raise BadWeights("The file has no last layer.")
    return content[-1].arrays[-1].shape[-1]


def usual_scaling(name: str, content: Content) -> Scaling:
    """That of torchvision, timm, keras.applications and the packages with EfficientNet-Lite."""
    if isinstance(content, dict):
        return "signed" if name.startswith("efficientnet") else "imagenet"
    return "signed" if name == "inception_v3" else "caffe"


def reverse_input_channels(network: keras.Model) -> None:
    """Weights that were trained with blue first take red first, by the reversed kernel of the first convolution."""
    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
    kernel, *others = first.get_weights()
    first.set_weights([kernel[:, :, ::-1], *others])


def imagenet_names(count: int) -> tuple[str, ...]:
    if count != NUM_IMAGENET:
        raise UserError(
            f"The file has {count} classes, which are not ImageNet's: name them by --labels FILE, a text file with the "
            "name of a class in each line, in the order in which the network was trained."
        )
    return class_names()


def read_labels(path: Path, count: int) -> tuple[str, ...]:
    """
    Raises:
        UserError: these are not names of so many classes, all different.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8; --labels takes a text file with a name in each line.") from None
    names = tuple(check_class_name(line.strip()) for line in lines if line.strip())
    if len(names) != count or len(set(names)) != count:
        raise UserError(
            f"{path} has {len(names)} names, {len(set(names))} of them different, and the file of weights has {count} "
            "classes: give each class a name of its own, one in a line."
        )
    return names


def nothing_given(name: str) -> MissingWeights:
    """What to say where somebody asks for a network's weights without saying where they are."""
    how = f"{' and '.join(SOURCES)} come in packages: `striate weights` lists them."
    if name in PUBLISHED:
        entry = PUBLISHED[name]
        how = (
            f"--download fetches {entry.file} ({entry.megabytes} MB) from {entry.url}; or copy that file here "
            f"({entry.algorithm} {entry.digest}) and give it by --file PATH."
        )
    elif name in TORCH_NETWORKS:
        how = f"A file of such weights is taken by --file PATH; {how}"
    return MissingWeights(
        f"No package carries weights of {name}. {how} To train without them: striate train --model {name}."
    )
