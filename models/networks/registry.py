"""Every architecture by its name: the field's history, one paper a file."""

from typing import TYPE_CHECKING, Any

from models.errors import UserError
from models.networks import (
    airbench,
    alexnet,
    efficientnet_lite,
    googlenet,
    inception,
    lectures,
    lenet,
    nin,
    resnet,
    vgg,
)
from models.networks.architecture import Architecture
from models.networks.scaling import set_scaling

if TYPE_CHECKING:
    import keras

ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for paper in (lenet, alexnet, nin, vgg, googlenet, inception, resnet, efficientnet_lite, lectures, airbench)
    for entry in paper.NETWORKS
}
ALIASES = {alias: name for name, entry in ARCHITECTURES.items() for alias in entry.aliases}


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    dropout: float | None = None,
    scaling: str = "signed",
    multi_stage: bool = False,
    **options: Any,
) -> "keras.Model":
    """A freshly initialised network: uint8 images (B, H, W, C) -> float32 logits (B, num_classes).

    Args:
        input_shape: (H, W, C) of one image.
        dropout: rate in [0, 1); None is the rate of the paper, which may be none at all.
        scaling: how bytes become numbers (`models.networks.scaling`).
        multi_stage: give the last layer the pooled outputs of earlier stages, too.
        options: of one network alone, as its file has them: `auxiliary` of googlenet, for example.

    Raises:
        UserError: no architecture or no scaling has this name, or it is not defined for this input or
            for `multi_stage`.
    """
    architecture = architecture_of(name)
    architecture.check_size(input_shape)
    rate = architecture.dropout if dropout is None else dropout
    if multi_stage:
        architecture.check_multi_stage()
        options["multi_stage"] = True
    network = architecture.builder(input_shape=input_shape, num_classes=num_classes, dropout=rate, **options)
    set_scaling(network, scaling)
    return network


def architecture_of(name: str) -> Architecture:
    """
    Raises:
        UserError: no architecture has this name.
    """
    name = ALIASES.get(name, name)
    if name not in ARCHITECTURES:
        aliases = ", ".join(f"{alias} for {of}" for alias, of in ALIASES.items())
        raise UserError(f"No architecture is called {name!r}; choose from {', '.join(ARCHITECTURES)}; or {aliases}.")
    return ARCHITECTURES[name]
