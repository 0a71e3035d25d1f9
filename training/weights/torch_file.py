"""Reads the tensors of a PyTorch state dict (`.pth`, `.pt`) without PyTorch, and without running what the file says.

Such a file is a pickle, and a pickle may call whatever it names. The unpickler here knows the few names that a state
dict needs, and refuses every other. Both forms are read: the one of PyTorch up to 1.5, in which three headers, the
pickle, the storages' keys and the storages' raw numbers follow each other; and the zip archive of later versions.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C  # of the older form
DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "BoolStorage": np.dtype("?"),
}
DAMAGED = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, MemoryError)


class BadWeights(UserError):
    """A file of weights that cannot be used; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A flat array of the file, before it is read."""

    key: str
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: a part of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, storages: Mapping[str, bytes]) -> np.ndarray:
        flat = np.frombuffer(storages[self.storage.key], self.storage.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if not (self.offset >= 0 and all(s >= 0 for s in (*self.shape, *self.strides)) and last < max(len(flat), 1)):
            raise ValueError("a tensor lies outside of its storage")
        steps = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps).copy()


class StateDictUnpickler(pickle.Unpickler):
    """Builds Views; knows no names but those of a state dict."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: View(storage, offset, tuple(shape), tuple(strides))
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise BadWeights(
            f"The file names {module}.{name}, which no state dict needs and which is not called here. Save the state "
            "dict alone: torch.save(model.state_dict(), PATH)."
        )

    def persistent_load(self, said: Any) -> Storage:
        kind, dtype, key, *_ = said
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError("this is no storage")
        return Storage(str(key), dtype)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """{name: array} of every tensor in the file.

    Raises:
        BadWeights: it is damaged, no state dict, or would call something.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            views, storages = read_archive(file) if zipfile.is_zipfile(file) else read_sequence(file)
            return {name: view.read(storages) for name, view in views.items()}
        except (*DAMAGED, zipfile.BadZipFile) as error:
            raise BadWeights(f"{path} is damaged or no state dict of PyTorch ({error}). Fetch it again.") from error


def read_sequence(file: BinaryIO) -> tuple[dict[str, View], dict[str, bytes]]:
    file.seek(0)
    magic, _, _, document = (StateDictUnpickler(file).load() for _ in range(4))
    if magic != MAGIC:
        raise ValueError("it does not begin as one does")
    views = views_of(document)
    dtypes = {view.storage.key: view.storage.dtype for view in views.values()}
    storages = {}
    for key in StateDictUnpickler(file).load():
        size = int.from_bytes(file.read(8), "little") * dtypes[key].itemsize
        storages[key] = read_exactly(file, size)
    return views, storages


def read_archive(file: BinaryIO) -> tuple[dict[str, View], dict[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it is compressed, as PyTorch's archives are not, and may be larger than it looks")
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        views = views_of(StateDictUnpickler(io.BytesIO(archive.read(pickled))).load())
        folder = pickled.removesuffix("data.pkl") + "data/"
        return views, {view.storage.key: archive.read(folder + view.storage.key) for view in views.values()}


def views_of(document: Any) -> dict[str, View]:
    """The tensors of a state dict, which may lie under a key of a checkpoint."""
    for key in ("state_dict", "model"):
        if isinstance(document, dict) and isinstance(document.get(key), dict):
            document = document[key]
    if not isinstance(document, dict) or not document:
        raise ValueError("it holds no tensors by name")
    return {str(name): view for name, view in document.items() if isinstance(view, View)}


def read_exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError("it ends too early")
    return data
