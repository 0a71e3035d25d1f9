"""Reads the tensors of a safetensors file (https://github.com/huggingface/safetensors): numbers behind a JSON header.

8 bytes       length of the header, little-endian
the header    {name: {"dtype": "F32", "shape": [64, 3, 7, 7], "data_offsets": [begin, end]}, "__metadata__": {...}}
the numbers   in which the offsets count
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from training.weights.torch_file import BadWeights

LONGEST_HEADER = 100_000_000  # bytes, as the format's own reader has it
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # the upper half of a float32
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """{name: array} of every tensor in the file; the numbers stay on the disk until they are used.

    Raises:
        BadWeights: it is damaged or no such file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, LONGEST_HEADER))
    try:
        if len(header) != length:
            raise ValueError("its header is not all there")
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        numbers = np.memmap(path, np.uint8, mode="r")[8 + length :]
        return {str(name): tensor_of(entry, numbers) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadWeights(f"{path} is damaged or no safetensors file ({error}). Fetch it again.") from error


def tensor_of(entry: dict[str, Any], numbers: np.ndarray) -> np.ndarray:
    """
    Raises:
        ValueError, TypeError, KeyError: the entry is none of a tensor in these bytes.
    """
    dtype, shape, (begin, end) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end)):
        raise ValueError("a shape or an offset is no whole number")
    if end > len(numbers) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("a tensor lies outside of the file, or is as long as no tensor of its shape")
    flat = np.frombuffer(numbers[begin:end], dtype)
    if entry["dtype"] == "BF16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(shape)
