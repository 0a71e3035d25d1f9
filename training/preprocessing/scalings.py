"""How the bytes of an image become what somebody's network takes: scale, offset, and the order of the channels.

A network says nowhere which of these it was trained with, and with another one it answers confidently and wrongly. The
names are those of `models.networks.scaling`, `none` for bytes as they are, and a suffix where the channels stand in
the other order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.errors import UserError
from models.networks.scaling import SCALINGS, Numbers


@dataclass(frozen=True, slots=True)
class PixelScaling:
    """
    Attributes:
        scale, offset: byte * scale + offset; of all channels, or of red, green and blue.
        blue_first: the network takes blue, green, red.
    """

    scale: Numbers
    offset: Numbers
    blue_first: bool = False

    def __call__(self, images: Any) -> Any:
        """(..., C) of bytes, as float32 -> the same shape, float32; NumPy arrays and TensorFlow's tensors alike."""
        scaled = images * np.asarray(self.scale, np.float32) + np.asarray(self.offset, np.float32)
        return scaled[..., ::-1] if self.blue_first else scaled


def _with_both_orders() -> dict[str, PixelScaling]:
    found: dict[str, PixelScaling] = {}
    plain: dict[str, tuple[Numbers, Numbers]] = {
        "none": (1.0, 0.0),
        **{str(name): numbers for name, numbers in SCALINGS.items()},
    }
    for name, (scale, offset) in plain.items():
        blue_first = name == "caffe"  # whose networks were trained on pictures as OpenCV reads them
        found[name] = PixelScaling(scale, offset, blue_first)
        found[f"{name}-{'rgb' if blue_first else 'bgr'}"] = PixelScaling(scale, offset, not blue_first)
    return found


PIXEL_SCALINGS = _with_both_orders()
USUAL = tuple(name for name in PIXEL_SCALINGS if "-" not in name)  # with the channels in the order that goes with it


def contrast_of(key: str) -> str:
    """Of "signed-bgr squash" and the like, what is alike whatever the order of the channels and the resize: signed."""
    return key.split()[0].split("-")[0]


def pixel_scaling(name: str, channels: int) -> PixelScaling:
    """
    Raises:
        UserError: no scaling has this name, or it is for three channels and the network takes another number.
    """
    if name not in PIXEL_SCALINGS:
        raise UserError(f"No scaling is called {name!r}; choose from {', '.join(PIXEL_SCALINGS)}.")
    if name not in scalings_for(channels):
        raise UserError(
            f"The scaling {name} is for three channels, and the network takes {channels}: choose from "
            f"{', '.join(scalings_for(channels))}."
        )
    return PIXEL_SCALINGS[name]


def scalings_for(channels: int) -> list[str]:
    """The names of those that images of so many channels can have."""
    return [
        name
        for name, each in PIXEL_SCALINGS.items()
        if channels == 3 or (not each.blue_first and not isinstance(each.scale, tuple) and name != "caffe-rgb")
    ]
