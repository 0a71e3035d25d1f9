"""Every architecture by its name."""

from collections.abc import Callable
from functools import partial

import keras

from models.alexnet import alexnet
from models.lenet import lenet5
from models.resnet import resnet

ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "lenet5": lenet5,
    "alexnet": alexnet,
    "resnet18": partial(resnet, "resnet18"),
    "resnet34": partial(resnet, "resnet34"),
    "resnet50": partial(resnet, "resnet50"),
}


def build(
    name: str, *, input_shape: tuple[int, int, int], num_classes: int, dropout: float | None = None
) -> keras.Model:
    """A freshly initialised network: uint8 images (B, H, W, C) -> float32 logits (B, num_classes).

    Args:
        input_shape: (H, W, C) of one image.
        dropout: rate in [0, 1); None is the rate of the paper, which may be none at all.

    Raises:
        ValueError: no architecture has this name, or it is not defined for this input.
    """
    check_architecture(name)
    return ARCHITECTURES[name](input_shape=input_shape, num_classes=num_classes, dropout=dropout)


def check_architecture(name: str) -> None:
    """
    Raises:
        ValueError: no architecture has this name.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"No architecture is called {name!r}; choose from {', '.join(ARCHITECTURES)}.")
