"""The types of tensors: what TensorFlow Serving, the Open Inference Protocol and NumPy call each.

The numbers are those of tensorflow/core/framework/types.proto. Types of which JSON has no form, such as complex
numbers, are left out; so is bfloat16, which NumPy does not have.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.bundle.graph import Tensor


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of the elements of a tensor.

    Attributes:
        serving: TensorFlow's name.
        inference: the Open Inference Protocol's.
        numpy: the type of arrays; those of texts hold `bytes` objects.
    """

    serving: str
    inference: str
    numpy: Any

    @property
    def is_text(self) -> bool:
        return self.numpy is object


KINDS = {
    1: Kind("DT_FLOAT", "FP32", np.float32),
    2: Kind("DT_DOUBLE", "FP64", np.float64),
    3: Kind("DT_INT32", "INT32", np.int32),
    4: Kind("DT_UINT8", "UINT8", np.uint8),
    5: Kind("DT_INT16", "INT16", np.int16),
    6: Kind("DT_INT8", "INT8", np.int8),
    7: Kind("DT_STRING", "BYTES", object),
    9: Kind("DT_INT64", "INT64", np.int64),
    10: Kind("DT_BOOL", "BOOL", np.bool_),
    17: Kind("DT_UINT16", "UINT16", np.uint16),
    19: Kind("DT_HALF", "FP16", np.float16),
    22: Kind("DT_UINT32", "UINT32", np.uint32),
    23: Kind("DT_UINT64", "UINT64", np.uint64),
}


def kind_of(tensor: Tensor) -> Kind:
    return KINDS[tensor.dtype]


def described(tensor: Tensor) -> str:
    """For people: `FP32 of shape [-1, 2]`."""
    kind = kind_of(tensor).inference
    return f"{kind} of any shape" if tensor.shape is None else f"{kind} of shape {list(tensor.shape)}"


def listed(tensors: dict[str, Tensor]) -> str:
    """For people: the names and types of all inputs, or of all outputs."""
    return ", ".join(f"{name} ({described(tensor)})" for name, tensor in tensors.items())
