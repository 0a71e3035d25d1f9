"""State dicts written as PyTorch writes them, in both of its formats, by pickle alone.

The names that such a file refers to are those of modules that stand in for PyTorch's while the file is written.
"""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class Storage:
    def __init__(self, key: str, values: np.ndarray) -> None:
        self.key, self.values = key, values


@contextmanager
def standing_in() -> Iterator[Any]:
    """The modules `torch` and `torch._utils`, with what a state dict names in them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_: Any) -> None:
        pass

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    torch._utils = utils  # type: ignore[attr-defined]
    with patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield torch


class Tensor:
    def __init__(self, torch: Any, key: str, values: np.ndarray) -> None:
        self._torch, self.storage, self._shape = torch, Storage(key, values.ravel()), values.shape

    def __reduce__(self) -> Any:
        strides, step = [], 1
        for size in reversed(self._shape):
            strides.insert(0, step)
            step *= size
        arguments = (self.storage, 0, tuple(self._shape), tuple(strides), False, OrderedDict())
        return self._torch._utils._rebuild_tensor_v2, arguments


def pickled(torch: Any, document: Any) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, found: Any) -> Any:
            if not isinstance(found, Storage):
                return None
            kind = getattr(torch, STORAGES[str(found.values.dtype)])
            return "storage", kind, found.key, "cpu", len(found.values), None

    file = io.BytesIO()
    Pickler(file, protocol=2).dump(document)
    return file.getvalue()


def write_state_dict(path: Path, tensors: Mapping[str, np.ndarray], *, zipped: bool) -> Path:
    with standing_in() as torch:
        named = OrderedDict((name, Tensor(torch, str(i), value)) for i, (name, value) in enumerate(tensors.items()))
        storages = {tensor.storage.key: tensor.storage.values for tensor in named.values()}
        if zipped:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("weights/data.pkl", pickled(torch, named))
                for key, values in storages.items():
                    archive.writestr(f"weights/data/{key}", values.tobytes())
            return path
        parts = [pickle.dumps(part, protocol=2) for part in (MAGIC, PROTOCOL, {"little_endian": True})]
        parts += [pickled(torch, named), pickle.dumps(list(storages), protocol=2)]
        parts += [len(values).to_bytes(8, "little") + values.tobytes() for values in storages.values()]
    path.write_bytes(b"".join(parts))
    return path
