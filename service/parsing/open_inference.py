"""Bodies of the Open Inference Protocol's `infer`: tensors in JSON, or binary behind it.

https://github.com/open-inference/open-inference-protocol, with Triton's extensions binary_tensor_data and
classification (https://github.com/triton-inference-server/server/tree/main/docs/protocol).
"""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.errors import BadRequest, ServiceError
from service.parsing.images import Batch, EncodedImage, check_count, pixels_of, read_base64
from service.parsing.json_document import MOST_NUMBERS, fit, parse_json

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUTS = ("images", "image_bytes", "image")
OUTPUT = "probabilities"
MAX_DIMENSIONS = 4  # N, H, W, C
MOST_CLASSES = 1_000_000  # more of the classification extension mean all


class TensorParameters(msgspec.Struct):
    """`binary_data_size`: bytes of this tensor behind the JSON."""

    binary_data_size: int | None = None


class Tensor(msgspec.Struct):
    """The one input: UINT8 of decoded pixels, or BYTES of encoded files."""

    name: Annotated[str, Meta(extra_json_schema={"enum": list(INPUTS)})]
    shape: Annotated[list[Annotated[int, Meta(ge=0, lt=2**31)]], Meta(min_length=1, max_length=MAX_DIMENSIONS)]
    datatype: Annotated[str, Meta(extra_json_schema={"enum": ["UINT8", "BYTES"]})]
    parameters: TensorParameters | None = None
    data: list[Any] | UnsetType = UNSET


class OutputParameters(msgspec.Struct):
    """`classification`: how many classes to name instead of all probabilities."""

    binary_data: bool | UnsetType = UNSET
    classification: Annotated[int, Meta(ge=0)] = 0


class Output(msgspec.Struct):
    """The one output."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(msgspec.Struct):
    """`timeout` is in microseconds."""

    timeout: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    binary_data_output: bool = False


class InferenceRequest(msgspec.Struct):
    """What `infer` takes."""

    inputs: Annotated[list[Tensor], Meta(min_length=1, max_length=1)]
    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[Output] | None = None


class Inference(msgspec.Struct):
    """What a request asks for.

    Attributes:
        id: to be given back.
        binary: whether probabilities come as bytes behind the JSON.
        num_classes: of the classification extension; 0: it is not used.
        timeout_s: after which the client does not need an answer any more.
    """

    batch: Batch
    id: str | None = None
    binary: bool = False
    num_classes: int = 0
    timeout_s: float = math.inf


def read_inference(body: bytes, length: str | None, model: str, max_images: int) -> Inference:
    """
    Args:
        length: what the request's header HEADER_LENGTH says.

    Raises:
        BadRequest, Unprocessable: it is not in the protocol, or asks for inputs or outputs that the model has not.
        TooLarge: too many images.
    """
    if length == "0":  # the whole body is the one input's one element
        return Inference(Batch([EncodedImage(body)] if body else []), binary=True)
    end = end_of_json(body, length)
    document = parse_json(body[:end], most_values=MOST_NUMBERS)
    forget_empty(document)
    asked = fit(document, InferenceRequest)
    parameters = asked.parameters or RequestParameters()
    output = read_output(asked.outputs or [Output(OUTPUT)], model)
    return Inference(
        read_tensor(asked.inputs[0], body[end:], model, max_images),
        asked.id,
        binary=parameters.binary_data_output if output.binary_data is UNSET else output.binary_data,
        num_classes=min(output.classification, MOST_CLASSES),
        timeout_s=parameters.timeout / 1e6 if parameters.timeout else math.inf,
    )


def end_of_json(body: bytes, length: str | None) -> int:
    """How many bytes of the body are JSON; binary follows.

    Raises:
        BadRequest: HEADER_LENGTH says something that cannot be.
    """
    if length is not None and not (length.isascii() and length.isdigit() and int(length[:12]) <= len(body)):
        raise BadRequest(f"{HEADER_LENGTH} is {length[:50]!r}; the body has {len(body)} bytes.")
    return len(body) if length is None else int(length[:12])


def forget_empty(document: Any) -> None:
    """Take empty `parameters` and `outputs` for none: PHP, for one, writes an empty object as []."""
    holders = [document] if isinstance(document, dict) else []
    for key in ("inputs", "outputs"):
        listed = holders[0].get(key) if holders else None
        holders += [holder for holder in listed if isinstance(holder, dict)] if isinstance(listed, list) else []
    for holder in holders:
        for key in ("parameters", "outputs"):
            if not holder.get(key):
                holder.pop(key, None)


def read_output(outputs: list[Output], model: str) -> OutputParameters:
    """The parameters of the one output that there is."""
    for output in outputs:
        if output.name != OUTPUT:
            raise BadRequest(f"unexpected inference output '{output.name[:100]}' for model '{model}': it has {OUTPUT}")
    return outputs[0].parameters or OutputParameters()


def read_tensor(tensor: Tensor, binary: bytes, model: str, max_images: int) -> Batch:
    """The input's images: BYTES of encoded ones, or UINT8 (N, H, W, C)."""
    datatype, shape = tensor.datatype, tensor.shape
    if tensor.name not in INPUTS:
        raise BadRequest(f"unexpected inference input '{tensor.name[:100]}' for model '{model}': it has {INPUTS[0]}")
    count = math.prod(shape)
    if not count:
        raise BadRequest("There is no image in the request: a size of its shape is 0.")
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if size is not None:
        if size != len(binary) or tensor.data is not UNSET:
            raise BadRequest(f"'binary_data_size' is {str(size)[:20]}, and {len(binary)} bytes follow the JSON.")
        return read_binary(datatype, shape, binary, max_images)
    data = flatten(tensor.data or [], depth=len(shape))
    if len(data) != count:
        raise unexpected(datatype, shape, f"{len(data)} elements")
    if datatype == "BYTES" and all(isinstance(element, str) for element in data):
        return Batch.of([read_base64(element, f"data[{i}]") for i, element in enumerate(data)], max_images)
    if datatype == "UINT8":
        return Batch.of(pixels_of(data, "data").reshape(shape), max_images)
    raise unexpected(datatype, shape, "other elements" if datatype == "BYTES" else "")


def read_binary(datatype: str, shape: list[int], binary: bytes, max_images: int) -> Batch:
    """Bytes behind the JSON. It takes time for at most `max_images` elements, however many there are."""
    count = math.prod(shape)
    if datatype == "UINT8" and count == len(binary):
        check_count(shape[0], max_images)
        return Batch(None, binary, shape)
    if datatype == "BYTES":
        found = itertools.islice(elements(binary), max_images + 1)
        images = [EncodedImage(element, f"element {i}") for i, element in enumerate(found)]
        if len(images) > max_images and 4 * count <= len(binary):
            check_count(count, max_images)
        if len(images) == count:
            return Batch(images)
    raise unexpected(datatype, shape, f"{len(binary)} bytes")


def unexpected(datatype: str, shape: list[int], came: str) -> ServiceError:
    got = f"; {came} came" if came else ""
    return BadRequest(
        f"The input is {datatype[:20]} of shape {shape[:8]}{got}. "
        "Send UINT8 pixels, or BYTES of encoded files: base64 strings in JSON, or binary."
    )


def elements(binary: bytes) -> Iterator[bytes]:
    """The elements of a binary BYTES tensor; four bytes before each say how long it is."""
    at = 0
    while at < len(binary):
        length = int.from_bytes(binary[at : at + 4], "little")
        at += 4
        if at + length > len(binary):
            raise BadRequest("The last element of the BYTES tensor is cut off.")
        yield binary[at : at + length]
        at += length


def flatten(data: list[Any], depth: int) -> list[Any]:
    """Nested lists in row-major order, or flat already."""
    for _ in range(depth - 1):
        if not data or not all(isinstance(item, list) for item in data):
            break
        data = [item for inner in data for item in inner]
    return data
