"""Safetensors files written as the format's description says."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        ends = [offset, offset + value.nbytes]
        entries[name] = {"dtype": NAMES[str(value.dtype)], "shape": list(value.shape), "data_offsets": ends}
        offset += value.nbytes
    return write_parts(path, entries, b"".join(value.tobytes() for value in tensors.values()))


def write_parts(path: Path, header: object, numbers: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    return path
