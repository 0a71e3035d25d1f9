"""Requests and answers of the Open Inference Protocol: tensors in JSON, or binary behind it.

Triton's binary_tensor_data and classification extensions
(https://github.com/triton-inference-server/server/tree/main/docs/protocol).
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from flask import Response, request
from msgspec import UNSET, Meta, UnsetType

from models.bundle.reference import most_probable
from service.errors import BadRequest, ServiceError
from service.http.images import EncodedImage, pixels_of, read_base64
from service.http.json_body import MOST_NUMBERS, fit, parse_json, respond
from service.inference.targets import Target

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUTS = ("images", "image_bytes", "image")
OUTPUT = "probabilities"
MAX_DIMENSIONS = 4  # N, H, W, C


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


@dataclass(frozen=True, slots=True)
class Inference:
    """What a request asks for."""

    images: list[EncodedImage] | np.ndarray  # encoded, or pixels uint8 (N, H, W, C)
    id: str | None = None  # to be given back
    binary: bool = False  # whether probabilities come as bytes behind the JSON
    num_classes: int = 0  # of the classification extension; 0: it is not used
    timeout_s: float = math.inf  # after which the client does not need an answer any more


def read_inference(body: bytes, model: str) -> Inference:
    """
    Raises:
        BadRequest, Unprocessable: it is not in the protocol, or asks for inputs or outputs that the model has not.
        TooLarge: too many images.
    """
    length = request.headers.get(HEADER_LENGTH)
    if length == "0":  # the whole body is the one input's one element
        return Inference([EncodedImage(body)] if body else [], binary=True)
    if length is not None and not (length.isascii() and length.isdigit() and int(length[:12]) <= len(body)):
        raise BadRequest(f"{HEADER_LENGTH} is {length[:50]!r}; the body has {len(body)} bytes.")
    end = len(body) if length is None else int(length[:12])
    document = parse_json(body[:end], most_values=MOST_NUMBERS)
    forget_empty(document)
    asked = fit(document, InferenceRequest)
    parameters = asked.parameters or RequestParameters()
    output = read_output(asked.outputs or [Output(OUTPUT)], model)
    return Inference(
        read_tensor(asked.inputs[0], body[end:], model),
        asked.id,
        binary=parameters.binary_data_output if output.binary_data is UNSET else output.binary_data,
        num_classes=output.classification,
        timeout_s=parameters.timeout / 1e6 if parameters.timeout else math.inf,
    )


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


def read_tensor(tensor: Tensor, binary: bytes, model: str) -> list[EncodedImage] | np.ndarray:
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
        if datatype == "UINT8" and count == size:
            return np.frombuffer(binary, np.uint8).reshape(shape)
        if datatype == "BYTES":
            images = [EncodedImage(element, f"element {i}") for i, element in enumerate(elements(binary))]
            if len(images) == count:
                return images
        raise unexpected(datatype, shape, f"{size} bytes")
    data = flatten(tensor.data or [], depth=len(shape))
    if len(data) != count:
        raise unexpected(datatype, shape, f"{len(data)} elements")
    if datatype == "BYTES" and all(isinstance(element, str) for element in data):
        return [read_base64(element, f"data[{i}]") for i, element in enumerate(data)]
    if datatype == "UINT8":
        return pixels_of(data, "data").reshape(shape)
    raise unexpected(datatype, shape, "other elements" if datatype == "BYTES" else "")


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


def answer_of(target: Target, asked: Inference, probabilities: np.ndarray) -> Response:
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(probabilities.shape)}
    data: list[Any] = probabilities.ravel().tolist()
    packed = probabilities.astype("<f4").tobytes()
    if asked.num_classes:
        rows = [classification(row, target.route.class_names, asked.num_classes) for row in probabilities]
        output |= {"datatype": "BYTES", "shape": [len(rows), len(rows[0])]}
        data = [text for row in rows for text in row]
        packed = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in data)
    answer: dict[str, Any] = {"model_name": target.name, "model_version": str(target.version)}
    if asked.id is not None:
        answer["id"] = asked.id
    if not asked.binary:
        return respond({**answer, "outputs": [{**output, "data": data}]})
    head = json.dumps({**answer, "outputs": [{**output, "parameters": {"binary_data_size": len(packed)}}]}).encode()
    return Response(head + packed, mimetype="application/octet-stream", headers={HEADER_LENGTH: str(len(head))})


def classification(row: np.ndarray, class_names: tuple[str, ...], count: int) -> list[str]:
    """`probability:index:label`, the most probable first."""
    return [f"{row[i]:f}:{i}:{class_names[i]}" for i in most_probable(row, count)]
