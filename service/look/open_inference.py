"""The Open Inference Protocol for the signature of a SavedModel: tensors in JSON, or binary behind it.

https://github.com/open-inference/open-inference-protocol, with Triton's extension binary_tensor_data. In JSON a BYTES
element is a text.
"""

import json
from typing import Annotated, Any

import msgspec
import numpy as np
from flask import Blueprint, Response, request
from msgspec import UNSET, Meta, UnsetType

from models.bundle.graph import Tensor
from models.version import VERSION
from service.errors import BadRequest, Conflict, NotFound
from service.http.bodies import read_bytes
from service.http.json_body import respond
from service.look.context import Look, look
from service.look.kinds import kind_of, listed
from service.look.values import MOST_DIMENSIONS, array_of, check_not_empty, check_shape, decoded, tensor_of_bytes
from service.look.values import to_bytes as packed_bytes
from service.parsing.json_document import MOST_NUMBERS, fit, parse_json
from service.parsing.open_inference import (
    HEADER_LENGTH,
    Output,
    OutputParameters,
    RequestParameters,
    TensorParameters,
    flatten,
    forget_empty,
)
from service.protocols.open_inference import PLATFORM, Live, ModelMetadata, Ready, Server, TensorMetadata

bp = Blueprint("look_open_inference", __name__, url_prefix="/v2")

ANY_RANK = [-1]  # of a tensor whose number of dimensions is open: the protocol has no word for that


class InputTensor(msgspec.Struct):
    """An input: `data` in JSON, nested or flat, or as many bytes behind the JSON as its parameters say."""

    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=0, lt=2**31)]], Meta(max_length=MOST_DIMENSIONS)]
    datatype: str
    parameters: TensorParameters | None = None
    data: list[Any] | UnsetType = UNSET


class TensorsRequest(msgspec.Struct):
    """What `infer` takes."""

    inputs: Annotated[list[InputTensor], Meta(min_length=1)]
    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[Output] | None = None


@bp.get("")
@bp.get("/")
def server() -> Response:
    return respond(Server("striate", VERSION, ("binary_tensor_data",)))


@bp.get("/health/live")
def live() -> Response:
    return respond(Live(True))


@bp.get("/health/ready")
def ready() -> Response:
    return respond(Ready(True))


@bp.get("/models/<name>/ready")
@bp.get("/models/<name>/versions/<int:version>/ready")
def model_ready(name: str, version: int | None = None) -> Response:
    check_known(name, version)
    return respond(Ready(True, name))


@bp.get("/models/<name>")
@bp.get("/models/<name>/versions/<int:version>")
def metadata(name: str, version: int | None = None) -> Response:
    check_known(name, version)
    model = look().model
    inputs, outputs = ([of(key, tensor) for key, tensor in side.items()] for side in (model.inputs, model.outputs))
    return respond(ModelMetadata(name, [str(model.version)], PLATFORM, inputs, outputs))


def of(name: str, tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(name, kind_of(tensor).inference, ANY_RANK if tensor.shape is None else [*tensor.shape])


@bp.post("/models/<name>/infer")
@bp.post("/models/<name>/versions/<int:version>/infer")
def infer(name: str, version: int | None = None) -> Response:
    check_known(name, version)
    body = read_bytes(request, look().config)
    end = header_length(body)
    document = parse_json(body[:end], most_values=MOST_NUMBERS)
    forget_empty(document)
    asked = fit(document, TensorsRequest)
    wanted = asked.outputs or [Output(name) for name in look().model.outputs]
    check_outputs(look(), wanted)
    outputs = look().infer(read_inputs(look(), asked.inputs, body[end:]))
    return answer(asked, wanted, outputs)


def header_length(body: bytes) -> int:
    length = request.headers.get(HEADER_LENGTH)
    if length is not None and not (length.isascii() and length.isdigit() and int(length[:12]) <= len(body)):
        raise BadRequest(f"{HEADER_LENGTH} is {length[:50]!r}; the body has {len(body)} bytes.")
    return len(body) if length is None else int(length[:12])


def read_inputs(look: Look, given: list[InputTensor], binary: bytes) -> dict[str, np.ndarray]:
    inputs: dict[str, np.ndarray] = {}
    at = 0
    for tensor in given:
        look.check_input(tensor.name)
        if tensor.name in inputs:
            raise BadRequest(f"The input {tensor.name} came twice.")
        size = tensor.parameters.binary_data_size if tensor.parameters else None
        if size is not None and (tensor.data is not UNSET or not 0 <= size <= len(binary) - at):
            raise BadRequest(
                f"'binary_data_size' is {str(size)[:20]}; {len(binary) - at} bytes follow for {tensor.name}."
            )
        inputs[tensor.name] = read_input(look, tensor, None if size is None else binary[at : at + size])
        at += size or 0
    if at < len(binary):
        raise BadRequest(f"{len(binary) - at} bytes behind the JSON belong to no input.")
    return inputs


def read_input(look: Look, given: InputTensor, data: bytes | None) -> np.ndarray:
    name, tensor = given.name, look.model.inputs[given.name]
    kind = kind_of(tensor)
    if given.datatype != kind.inference:
        raise BadRequest(f"The input {name} came as {given.datatype[:20]!r}; it takes {kind.inference}.")
    if data is not None:
        return tensor_of_bytes(data, given.shape, tensor, name)
    check_not_empty(given.shape, name)
    leaves = flatten([] if given.data is UNSET else given.data, depth=len(given.shape))
    if len(leaves) != int(np.prod(given.shape, dtype=object)):
        raise BadRequest(f"The input {name} has the shape {given.shape[:8]}, and {len(leaves)} elements came for it.")
    array = array_of(leaves, kind, f"The input {name}").reshape(given.shape)
    check_shape(array, tensor, name)
    return array


def check_outputs(look: Look, wanted: list[Output]) -> None:
    for output in wanted:
        if output.name not in look.model.outputs:
            raise BadRequest(f"There is no output {output.name[:100]!r}; the model has {listed(look.model.outputs)}.")
        if output.parameters and output.parameters.classification:
            raise Conflict(look.model.how_to_import)


def answer(asked: TensorsRequest, wanted: list[Output], outputs: dict[str, np.ndarray]) -> Response:
    model = look().model
    head: dict[str, Any] = {"model_name": model.name, "model_version": str(model.version)}
    if asked.id is not None:
        head["id"] = asked.id
    all_binary = asked.parameters is not None and asked.parameters.binary_data_output
    described, packed = [], b""
    for output in wanted:
        array, binary = outputs[output.name], (output.parameters or OutputParameters()).binary_data
        kind = kind_of(model.outputs[output.name])
        one: dict[str, Any] = {"name": output.name, "datatype": kind.inference, "shape": list(array.shape)}
        if all_binary if binary is UNSET else binary:
            data = packed_bytes(array)
            packed += data
            described.append(one | {"parameters": {"binary_data_size": len(data)}})
        else:
            described.append(one | {"data": flat(array, output.name)})
    head["outputs"] = described
    encoded = json.dumps(head).encode()
    if not any("parameters" in one for one in described):
        return Response(encoded + b"\n", mimetype="application/json")
    headers = {HEADER_LENGTH: str(len(encoded))}
    return Response(encoded + packed, mimetype="application/octet-stream", headers=headers)


def flat(array: np.ndarray, name: str) -> list[Any]:
    """
    Raises:
        BadRequest: a text is not UTF-8.
    """
    if array.dtype != object:
        found: list[Any] = array.ravel().tolist()
        return found
    texts = [decoded(text) for text in array.ravel()]
    if None in texts:
        raise BadRequest(f"The output {name} is not UTF-8, which JSON cannot hold: ask for it with 'binary_data'.")
    return texts


def check_known(name: str, version: int | None) -> None:
    model = look().model
    if name != model.name or version not in (None, model.version):
        which = f"'{name}'" if version is None else f"version {version} of '{name}'"
        raise NotFound(
            f"Request for unknown model: {which} is not found; {model.name} version {model.version} is served."
        )
