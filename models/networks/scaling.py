"""How the bytes of an image become the numbers that a network takes, which belongs to its weights.

The layer `rescale` of every network computes byte * scale + offset, for all channels alike or for each of red, green
and blue. A bundle's manifest names the scaling of its weights, and a network that takes them over is built with it.
"""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from models.errors import UserError

if TYPE_CHECKING:
    import keras

Scaling = Literal["signed", "unit", "imagenet", "caffe"]
Numbers = float | tuple[float, float, float]  # of all channels, or of red, green and blue

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels within [0, 1], as in torchvision
SCALINGS: dict[Scaling, tuple[Numbers, Numbers]] = {  # name: (scale, offset)
    "signed": (1 / 127.5, -1.0),  # [-1, 1]: the default here, and mode "tf" of keras.applications
    "unit": (1 / 255, 0.0),  # [0, 1]
    # mean 0 and deviation 1 over ImageNet: torchvision, timm, and mode "torch" of keras.applications
    "imagenet": (
        (1 / (255 * DEVIATION[0]), 1 / (255 * DEVIATION[1]), 1 / (255 * DEVIATION[2])),
        (-MEAN[0] / DEVIATION[0], -MEAN[1] / DEVIATION[1], -MEAN[2] / DEVIATION[2]),
    ),
    # mean 0: mode "caffe" of keras.applications, which also has blue first. Who takes over such weights reverses the
    # input channels of the first convolution instead.
    "caffe": (1.0, (-123.68, -116.779, -103.939)),
}


def scale_and_offset(scaling: str, channels: int) -> tuple[Numbers, Numbers]:
    """
    Raises:
        UserError: no scaling has this name, or it is for three channels and the images have another number.
    """
    known = {str(name): numbers for name, numbers in SCALINGS.items()}
    if scaling not in known:
        raise UserError(f"No scaling is called {scaling!r}; choose from {', '.join(get_args(Scaling))}.")
    if channels != 3 and any(isinstance(numbers, tuple) for numbers in known[scaling]):
        raise UserError(
            f"The weights need the scaling {scaling}, which is for three channels, and the images have {channels}: "
            "take --channels 3, with which grey images become coloured ones."
        )
    return known[scaling]


def set_scaling(network: "keras.Model", scaling: str) -> None:
    """Give the layer `rescale` of a network the scale and the offset of a scaling.

    Raises:
        UserError: as `scale_and_offset`.
    """
    scale, offset = scale_and_offset(scaling, network.input_shape[-1])
    layer = network.get_layer("rescale")
    layer.scale, layer.offset = (
        np.array(numbers, np.float32) if isinstance(numbers, tuple) else numbers for numbers in (scale, offset)
    )
