"""Reads the weights of an HDF5 file of Keras as `keras.applications` publishes them, and nothing else that is in it.

Such a file has the attribute `layer_names`, a group for each layer, and in the group's attribute `weight_names` the
names of the layer's arrays. A file that holds a whole model has the same below `model_weights`; the model itself is not
read, since it may hold code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from training.weights.torch_file import BadWeights

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DAMAGED = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError)  # of a file that can be opened


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer's arrays as Keras lays them out: a kernel is (h, w, I, O) or (I, O)."""

    name: str
    arrays: list[np.ndarray]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [array.shape for array in self.arrays]


def read_keras_file(path: Path) -> list[StoredLayer]:
    """The layers that have arrays, in the file's order, which is that of the network's layers.

    Raises:
        BadWeights: it is damaged or no such file.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    try:
        with h5py.File(path, "r") as file:
            top = follow(file, "model_weights") if "model_weights" in file else file
            datasets = {name: datasets_of(follow(top, name)) for name in names_in(top, "layer_names")}
            if sum(array.nbytes for arrays in datasets.values() for array in arrays) > size:
                raise ValueError("its arrays are larger than the file")
            return [
                StoredLayer(name, [np.asarray(array, np.float32) for array in arrays])
                for name, arrays in datasets.items()
                if arrays
            ]
    except DAMAGED as error:
        raise BadWeights(
            f"{path} is damaged or no file of weights in the form of keras.applications ({error}). Fetch it again. A "
            "model of Keras 3 is written in this form by model.save('weights.h5'), and not by model.save_weights."
        ) from error


def datasets_of(group: Any) -> list[h5py.Dataset]:
    found = [follow(group, name) for name in names_in(group, "weight_names")]
    if not all(isinstance(array, h5py.Dataset) and array.dtype.kind == "f" for array in found):
        raise ValueError("a weight is no array of numbers")
    if any(array.external or array.is_virtual for array in found):
        raise ValueError("its numbers lie in another file")
    return found


def names_in(group: Any, attribute: str) -> list[str]:
    """Strings, or bytes as older versions of Keras wrote them."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]


def follow(group: Any, path: str) -> Any:
    """What lies at a path in a file, but not in another one to which a link leads."""
    for name in filter(None, path.split("/")):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link")
        group = group[name]
    return group
