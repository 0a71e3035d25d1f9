"""The Open Inference Protocol, version 2, under /v2, as KServe and Triton speak it; over HTTP.

https://github.com/open-inference/open-inference-protocol, with Triton's extensions binary_tensor_data, classification,
model_repository (loading is in `service.protocols.admin`), statistics and parameters
(https://github.com/triton-inference-server/server/tree/main/docs/protocol). An input is `images`: UINT8 of decoded
pixels, or BYTES of encoded files of any size, which the service decodes.
"""

import contextlib
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify, request

from service.errors import BadRequest, NotFound, NotReady
from service.http.images import EncodedImage, checked, parse_json, pixels_of, read_base64, read_bytes
from service.inference.service import service
from service.inference.targets import Target
from service.ipc.routes import ModelRoute
from service.protocols.openapi import VERSION
from service.telemetry.metrics import statistics

bp = Blueprint("open_inference", __name__, url_prefix="/v2")

EXTENSIONS = ("binary_tensor_data", "classification", "model_repository", "parameters", "statistics")
HEADER_LENGTH = "Inference-Header-Content-Length"
INPUTS = ("images", "image_bytes", "image")
OUTPUT = "probabilities"
PLATFORM = "tensorflow_savedmodel"
MAX_DIMENSIONS = 4  # N, H, W, C
LENGTH = struct.Struct("<I")  # before each element of a binary BYTES tensor
STATES = {"loading": "LOADING", "available": "READY", "restarting": "UNAVAILABLE"}
STATES |= {"parked": "UNAVAILABLE", "rejected": "UNAVAILABLE"}


def error_body(message: str) -> dict[str, Any]:
    return {"error": message}


@bp.get("")
@bp.get("/")
def server() -> Response:
    return jsonify(name="striate", version=VERSION, extensions=list(EXTENSIONS))


@bp.get("/health/live")
def live() -> Response:
    return jsonify(live=True)


@bp.get("/health/ready")
def ready() -> Response:
    service().health.check_ready()
    return jsonify(ready=True)


@bp.get("/models")
def list_models() -> Response:
    return jsonify(models=list(service().engines.routes.models))


@bp.get("/models/<name>")
@bp.get("/models/<name>/versions/<int:version>")
def metadata(name: str, version: int | None = None) -> Response:
    with model_named(name, version):
        chosen = service().targets.find(name, version)
    numbers = [str(number) for number, route in known(name).versions.items() if route.state == "available"]
    return jsonify(
        name=name,
        versions=numbers,
        platform=PLATFORM,
        inputs=[{"name": INPUTS[0], "datatype": "UINT8", "shape": [-1, *chosen.spec.shape]}],
        outputs=[{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(chosen.route.class_names)]}],
    )


@bp.get("/models/<name>/ready")
@bp.get("/models/<name>/versions/<int:version>/ready")
def model_ready(name: str, version: int | None = None) -> Response:
    known(name)
    service().health.check(name, version)
    return jsonify(name=name, ready=True)


@bp.post("/models/<name>/infer")
@bp.post("/models/<name>/versions/<int:version>/infer")
def infer(name: str, version: int | None = None) -> Response:
    """Probabilities, or with `classification` the most probable classes, of every image of the one input."""
    with model_named(name, version):
        service().admit(name, version)
        asked = read_inference(read_bytes(request, service().config), name)
        if isinstance(asked.images, list):
            images = checked(asked.images, service().config)
            chosen, probabilities = service().classify(name, version, images, timeout_s=asked.timeout_s)
        else:
            chosen, probabilities = service().classify_pixels(name, version, asked.images, timeout_s=asked.timeout_s)
    return respond(chosen, asked, probabilities)


@bp.post("/repository/index")
def index() -> Response:
    """Every model and version, or with {"ready": true} those that answer."""
    body = read_bytes(request, service().config)
    options = parse_json(body) if body.strip() else {}
    if not isinstance(options, dict) or not isinstance(options.get("ready", False), bool):
        raise BadRequest('The body has to be {"ready": true}, or nothing.')
    rows = [
        {"name": name, "version": str(number), "state": STATES[route.state], "reason": route.reason or ""}
        for name, model in service().engines.routes.models.items()
        for number, route in sorted(model.versions.items())
    ]
    rows += [
        {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
        for name, model in service().engines.routes.models.items()
        if model.unloaded
    ]
    return jsonify([row for row in rows if row["state"] == "READY" or not options.get("ready")])


@bp.get("/models/stats")
@bp.get("/models/<name>/stats")
@bp.get("/models/<name>/versions/<int:version>/stats")
def stats(name: str | None = None, version: int | None = None) -> Response:
    """How many images each version has answered, and what that took, since the service started."""
    models = service().engines.routes.models if name is None else {name: known(name)}
    wanted = [
        (model, number) for model, route in models.items() for number in route.versions if version in (None, number)
    ]
    return jsonify(model_stats=[statistics(model, number) for model, number in wanted])


# Reading a request


@dataclass(frozen=True, slots=True)
class Inference:
    """What a request asks.

    Attributes:
        images: encoded, or pixels uint8 (N, H, W, C).
        id: to be given back.
        binary: whether probabilities come as bytes behind the JSON.
        num_classes: of the classification extension; 0 is not to use it.
        timeout_s: after which the client has no use for an answer.
    """

    images: list[EncodedImage] | np.ndarray
    id: str | None = None
    binary: bool = False
    num_classes: int = 0
    timeout_s: float = math.inf


def read_inference(body: bytes, name: str) -> Inference:
    """
    Raises:
        BadRequest: it is not in the protocol, or asks for inputs or outputs that the model has not.
        TooLarge: too many images.
    """
    length = request.headers.get(HEADER_LENGTH)
    if length == "0":  # the whole body is the one input's one element
        return Inference([EncodedImage(body)] if body else [], binary=True)
    if length is not None and not (length.isascii() and length.isdigit() and int(length[:12]) <= len(body)):
        raise BadRequest(f"{HEADER_LENGTH} is {length[:50]!r}; the body has {len(body)} bytes.")
    end = len(body) if length is None else int(length[:12])
    document = parse_json(body[:end])
    if not isinstance(document, dict):
        raise BadRequest("The request has to be a JSON object.")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadRequest(f"'inputs' has to be a list of one tensor: {INPUTS[0]}.")
    parameters = object_of(document, "parameters")
    request_id, timeout_us = document.get("id"), parameters.get("timeout")
    if not isinstance(request_id, str | None):
        raise BadRequest("'id' has to be a string.")
    if timeout_us is not None and (type(timeout_us) is not int or not 0 <= timeout_us < 2**63):
        raise BadRequest("'timeout' has to be a whole number of microseconds.")
    output = read_output(document, name)
    return Inference(
        read_tensor(inputs[0], body[end:], name),
        request_id,
        binary=flag(output, "binary_data", default=flag(parameters, "binary_data_output", default=False)),
        num_classes=read_classification(output),
        timeout_s=timeout_us / 1e6 if timeout_us else math.inf,
    )


def read_output(document: dict[str, Any], model: str) -> dict[str, Any]:
    """The parameters of the one output that there is."""
    outputs = document.get("outputs") or [{"name": OUTPUT}]
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise BadRequest("'outputs' has to be a list of objects.")
    for output in outputs:
        if output.get("name") != OUTPUT:
            name = str(output.get("name"))[:100]
            raise BadRequest(f"unexpected inference output '{name}' for model '{model}': it has {OUTPUT}")
    return object_of(outputs[0], "parameters")


def read_classification(parameters: dict[str, Any]) -> int:
    count = parameters.get("classification", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise BadRequest("'classification' has to be a number of classes.")
    return count


def read_tensor(tensor: dict[str, Any], binary: bytes, model: str) -> list[EncodedImage] | np.ndarray:
    """The input's images: BYTES of encoded ones, or UINT8 (N, H, W, C)."""
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), read_shape(tensor)
    if name not in INPUTS:
        raise BadRequest(f"unexpected inference input '{str(name)[:100]}' for model '{model}': it has {INPUTS[0]}")
    count = math.prod(shape)
    if not count:
        raise BadRequest("There is no image in the request: a size of its shape is 0.")
    size = object_of(tensor, "parameters").get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != len(binary) or "data" in tensor:
            raise BadRequest(f"'binary_data_size' is {str(size)[:20]}, and {len(binary)} bytes follow the JSON.")
        if datatype == "UINT8" and count == size:
            return np.frombuffer(binary, np.uint8).reshape(shape)
        if datatype == "BYTES":
            return expect(count, [EncodedImage(e, f"element {i}") for i, e in enumerate(elements(binary))])
        raise unexpected(datatype, shape, f"{size} bytes")
    data = flatten(tensor.get("data"), depth=len(shape))
    if len(data) != count:
        raise unexpected(datatype, shape, f"{len(data)} elements")
    if datatype == "BYTES" and all(isinstance(element, str) for element in data):
        return [read_base64(element, f"data[{i}]") for i, element in enumerate(data)]
    if datatype == "UINT8":
        return pixels_of(data, "data").reshape(shape)
    raise unexpected(datatype, shape, "other elements" if datatype == "BYTES" else "")


def read_shape(tensor: dict[str, Any]) -> list[int]:
    """Sizes, few and small enough to be multiplied."""
    shape = tensor.get("shape")
    if isinstance(shape, list) and 0 < len(shape) <= MAX_DIMENSIONS:
        sizes = [size for size in shape if type(size) is int and 0 <= size < 2**31]
        if len(sizes) == len(shape):
            return sizes
    raise BadRequest(f"'shape' has to be a list of 1 to {MAX_DIMENSIONS} sizes.")


def unexpected(datatype: Any, shape: list[int], came: str) -> BadRequest:
    got = f"; {came} came" if came else ""
    return BadRequest(
        f"The input is {str(datatype)[:20]} of shape {shape[:8]}{got}. "
        "Send UINT8 pixels, or BYTES of encoded files: base64 strings in JSON, or binary."
    )


def expect(count: int, images: list[EncodedImage]) -> list[EncodedImage]:
    if len(images) != count:
        raise BadRequest(f"The shape says {count} elements, and {len(images)} came.")
    return images


def elements(binary: bytes) -> Iterator[bytes]:
    """Of a binary BYTES tensor: each behind its length."""
    at = 0
    while at < len(binary):
        if at + LENGTH.size > len(binary):
            raise BadRequest("The last element of the BYTES tensor is cut off.")
        (length,) = LENGTH.unpack_from(binary, at)
        at += LENGTH.size
        if at + length > len(binary):
            raise BadRequest("The last element of the BYTES tensor is cut off.")
        yield binary[at : at + length]
        at += length


def flatten(data: Any, depth: int) -> list[Any]:
    """Nested lists in row-major order, or flat already."""
    if not isinstance(data, list):
        raise BadRequest("'data' has to be a list, flat or nested as the shape is.")
    for _ in range(depth - 1):
        if not data or not all(isinstance(item, list) for item in data):
            break
        data = [item for inner in data for item in inner]
    return data


def object_of(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise BadRequest(f"'{key}' has to be an object.")
    return value


def flag(parameters: dict[str, Any], key: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise BadRequest(f"'{key}' has to be true or false.")
    return value


# Writing the answer


def respond(chosen: Target, asked: Inference, probabilities: np.ndarray) -> Response:
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(probabilities.shape)}
    data: list[Any] = probabilities.ravel().tolist()
    packed = probabilities.astype("<f4").tobytes()
    if asked.num_classes:
        rows = [most_probable(row, chosen.route.class_names, asked.num_classes) for row in probabilities]
        output |= {"datatype": "BYTES", "shape": [len(rows), len(rows[0])]}
        data = [text for row in rows for text in row]
        packed = b"".join(LENGTH.pack(len(text.encode())) + text.encode() for text in data)
    answer: dict[str, Any] = {"model_name": chosen.name, "model_version": str(chosen.version)}
    if asked.id is not None:
        answer["id"] = asked.id
    if not asked.binary:
        return jsonify(**answer, outputs=[{**output, "data": data}])
    head = json.dumps({**answer, "outputs": [{**output, "parameters": {"binary_data_size": len(packed)}}]}).encode()
    return Response(head + packed, mimetype="application/octet-stream", headers={HEADER_LENGTH: str(len(head))})


def most_probable(row: np.ndarray, class_names: tuple[str, ...], count: int) -> list[str]:
    """`probability:index:label`, the most probable first."""
    return [f"{row[i]:f}:{i}:{class_names[i]}" for i in np.argsort(-row, kind="stable")[:count].tolist()]


@contextlib.contextmanager
def model_named(name: str, version: int | None) -> Iterator[None]:
    """A model or version that is not found is reported in the words of the protocol."""
    try:
        yield
    except NotFound:
        which = f"version {version} of model '{name}'" if version is not None else f"model '{name}'"
        raise NotFound(f"Request for unknown model: {which} is not found") from None


def known(name: str) -> ModelRoute:
    model = service().engines.routes.models.get(name)
    if model is None:
        raise NotFound(f"Request for unknown model: '{name}' is not found")
    if model.unloaded:
        raise NotReady(f"'{name}' was unloaded.")
    return model
