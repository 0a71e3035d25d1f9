"""Values of tensors in requests and answers: nested lists of JSON, and bytes."""

import base64
import binascii
from typing import Any

import numpy as np

from models.bundle.graph import Tensor
from service.errors import BadRequest
from service.look.kinds import Kind, described, kind_of
from service.parsing.open_inference import elements

MOST_DIMENSIONS = 32  # of a tensor whose number of dimensions is open
BASE64 = "b64"  # key of the object in which TensorFlow Serving's JSON has bytes


def is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {BASE64} and isinstance(value[BASE64], str)


def tensor_of(value: Any, tensor: Tensor, name: str) -> np.ndarray:
    """Nested lists -> the array that an input of the model takes; texts may be {"b64": "..."}.

    Raises:
        BadRequest: they are of another type or shape; says what came and what is accepted.
    """
    leaves, shape = unnested(value, name)
    array = array_of(leaves, kind_of(tensor), f"The input {name}").reshape(shape)
    check_shape(array, tensor, name)
    return array


def unnested(value: Any, name: str) -> tuple[list[Any], list[int]]:
    """What nested lists hold, in row-major order, and their lengths."""
    leaves, shape = [value], []
    while isinstance(leaves[0], list):
        length = len(leaves[0])
        if any(not isinstance(leaf, list) or len(leaf) != length for leaf in leaves):
            raise BadRequest(f"The input {name} is ragged: lists of one depth have to be of one length.")
        shape.append(length)
        check_not_empty(shape, name)
        leaves = [item for leaf in leaves for item in leaf]
    return leaves, shape


def array_of(leaves: list[Any], kind: Kind, what: str) -> np.ndarray:
    """Numbers, truth values or texts as JSON has them -> an array of one dimension.

    Args:
        what: begins the message.

    Raises:
        BadRequest: one of them is of another type, or out of the type's range.
    """
    if kind.is_text:
        return texts(leaves, what)
    found = numbers(leaves, kind)
    if found is None:
        odd = next(leaf for leaf in leaves if numbers([leaf], kind) is None)
        raise BadRequest(f"{what} has {shown(odd)}; it takes {kind.inference}: {accepted(kind)}.")
    return found


def numbers(leaves: list[Any], kind: Kind) -> np.ndarray | None:
    """Numbers or truth values of this type; None where one of them is something else, or out of range."""
    types = set(map(type, leaves))
    if kind.numpy is np.bool_:
        fit = types <= {bool}
    elif np.issubdtype(kind.numpy, np.integer):
        limits = np.iinfo(kind.numpy)
        fit = types <= {int} and limits.min <= min(leaves) and max(leaves) <= limits.max
    else:
        most = float(np.finfo(kind.numpy).max)
        fit = types <= {int, float} and -most <= min(leaves) and max(leaves) <= most
    return np.array(leaves, kind.numpy) if fit else None


def shown(leaf: Any) -> str:
    return "a list among values" if isinstance(leaf, list) else repr(leaf)[:50]


def accepted(kind: Kind) -> str:
    if kind.numpy is np.bool_:
        return "true and false"
    if np.issubdtype(kind.numpy, np.integer):
        limits = np.iinfo(kind.numpy)
        return f"whole numbers from {limits.min} to {limits.max}"
    most = float(np.finfo(kind.numpy).max)
    return f"numbers from {-most:.3g} to {most:.3g}"


def texts(leaves: list[Any], what: str) -> np.ndarray:
    found = np.empty(len(leaves), object)
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, str):
            found[i] = leaf.encode()
        elif is_base64(leaf):
            try:
                found[i] = base64.b64decode(leaf[BASE64], validate=True)
            except (binascii.Error, ValueError):
                raise BadRequest(f"{what} has a 'b64' that is not base64 of the standard alphabet.") from None
        else:
            raise BadRequest(f'{what} has {shown(leaf)}; it takes BYTES: texts, or {{"b64": "..."}}.')
    return found


def tensor_of_bytes(data: bytes, shape: list[int], tensor: Tensor, name: str) -> np.ndarray:
    """The binary form of the Open Inference Protocol -> the array that an input takes.

    Raises:
        BadRequest: there are more or fewer bytes than the shape needs, or the model takes another shape.
    """
    kind = kind_of(tensor)
    check_not_empty(shape, name)
    count = int(np.prod(shape, dtype=object))
    array = np.empty(0, kind.numpy)
    if kind.is_text:
        found = list(elements(data))
        array = np.empty(len(found), object)
        array[:] = found
    elif len(data) == count * np.dtype(kind.numpy).itemsize:
        sent = np.uint8 if kind.numpy is np.bool_ else np.dtype(kind.numpy).newbyteorder("<")
        array = np.frombuffer(data, sent).astype(kind.numpy)
    if len(array) != count:
        raise BadRequest(f"The input {name} is {kind.inference} of shape {shape[:8]}; {len(data)} bytes came for it.")
    array = array.reshape(shape)
    check_shape(array, tensor, name)
    return array


def check_not_empty(shape: list[int], name: str) -> None:
    if len(shape) > MOST_DIMENSIONS:
        raise BadRequest(f"The input {name} has more than {MOST_DIMENSIONS} dimensions.")
    if 0 in shape:
        raise BadRequest(f"The input {name} is empty: a size of its shape {shape[:8]} is 0.")


def check_shape(array: np.ndarray, tensor: Tensor, name: str) -> None:
    wanted = tensor.shape
    fits = wanted is None or (
        len(wanted) == array.ndim and all(want in (-1, size) for want, size in zip(wanted, array.shape, strict=True))
    )
    if not fits:
        raise BadRequest(
            f"The input {name} came with the shape {list(array.shape)}; it takes {described(tensor)}"
            f"{', where -1 is any size' if wanted and -1 in wanted else ''}."
        )


def to_json(array: np.ndarray, name: str) -> Any:
    """Nested lists as TensorFlow Serving writes them: bytes are {"b64": ...} where the output's name ends in _bytes.

    A text that is not UTF-8 is {"b64": ...}, too, since JSON could not hold it.
    """
    if array.dtype != object:
        return array.tolist()

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(item) for item in value]
        text = None if name.endswith("_bytes") else decoded(value)
        return {BASE64: base64.b64encode(value).decode()} if text is None else text

    return convert(array.tolist())


def decoded(value: bytes) -> str | None:
    """None where it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def to_bytes(array: np.ndarray) -> bytes:
    """The binary form of the Open Inference Protocol."""
    if array.dtype == object:
        return b"".join(len(text).to_bytes(4, "little") + text for text in array.ravel())
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
