"""TensorFlow Serving's REST API for the signature of a SavedModel.

https://github.com/tensorflow/serving/blob/2.20.0/tensorflow_serving/g3doc/api_rest.md. As there, numbers that are not
finite are written as NaN, Infinity and -Infinity.
"""

import json
from typing import Any

import numpy as np
from flask import Blueprint, Response, request

from models.bundle.graph import Tensor
from service.errors import BadRequest, Conflict, NotFound
from service.http.bodies import read_bytes
from service.http.json_body import respond
from service.look.context import Look, look
from service.look.kinds import kind_of, listed
from service.look.saved_model import SIGNATURE
from service.look.values import is_base64, tensor_of, to_json
from service.parsing.json_document import MOST_NUMBERS, fit, parse_json
from service.protocols.tensorflow_serving import ModelNames, ModelStatus, PredictRequest, Status, VersionStatus

bp = Blueprint("look_tensorflow_serving", __name__, url_prefix="/v1")


@bp.post("/models/<name>:predict")
@bp.post("/models/<name>/versions/<int:version>:predict")
def predict(name: str, version: int | None = None) -> Response:
    check_servable(name, version)
    document = parse_json(read_bytes(request, look().config), most_values=MOST_NUMBERS)
    if not isinstance(document, dict) or ("instances" in document) == ("inputs" in document):
        raise BadRequest("Send an object with one of the keys 'instances' (rows) and 'inputs' (columns).")
    signature = fit(document, PredictRequest).signature_name or SIGNATURE
    if signature != SIGNATURE:
        raise BadRequest(f'Serving signature name: "{signature[:100]}" not found; {SIGNATURE} is served.')
    if "inputs" in document:
        outputs = look().infer(read_columns(look(), document["inputs"]))
        return write("outputs", columns(outputs))
    outputs = look().infer(read_rows(look(), document["instances"]))
    return write("predictions", rows(outputs))


def read_columns(look: Look, inputs: Any) -> dict[str, np.ndarray]:
    """{name: value of the whole input}, or the value alone where the model has one input."""
    tensors = look.model.inputs
    if not isinstance(inputs, dict) or is_base64(inputs):
        inputs = {only_name(tensors, "'inputs'"): inputs}
    for name in inputs:
        look.check_input(name)
    return {name: tensor_of(value, tensors[name], name) for name, value in inputs.items()}


def read_rows(look: Look, instances: Any) -> dict[str, np.ndarray]:
    """One value an instance, or one object {name: value}; along the first axis they become one array."""
    tensors = look.model.inputs
    if not isinstance(instances, list) or not instances:
        raise BadRequest("'instances' has to be a list of one instance or more.")
    named = [isinstance(row, dict) and not is_base64(row) for row in instances]
    if not any(named):
        name = only_name(tensors, "each of 'instances'")
        return {name: tensor_of(instances, tensors[name], name)}
    if not all(named) or any(row.keys() != instances[0].keys() for row in instances):
        raise BadRequest("All 'instances' have to be objects with the same keys, or none of them.")
    for name in instances[0]:
        look.check_input(name)
    return {name: tensor_of([row[name] for row in instances], tensors[name], name) for name in instances[0]}


def only_name(tensors: dict[str, Tensor], what: str) -> str:
    if len(tensors) != 1:
        raise BadRequest(f"The model has several inputs, so {what} has to be an object of them: {listed(tensors)}.")
    return next(iter(tensors))


def columns(outputs: dict[str, np.ndarray]) -> Any:
    values = {name: to_json(array, name) for name, array in outputs.items()}
    return values if len(values) > 1 else next(iter(values.values()))


def rows(outputs: dict[str, np.ndarray]) -> list[Any]:
    sizes = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(sizes) != 1 or None in sizes:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
        raise BadRequest(f"The outputs are no rows of one number ({shapes}): send 'inputs' instead of 'instances'.")
    values = {name: to_json(array, name) for name, array in outputs.items()}
    if len(values) == 1:
        return list(next(iter(values.values())))
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def write(key: str, value: Any) -> Response:
    return Response(json.dumps({key: value}) + "\n", mimetype="application/json")


@bp.post("/models/<name>:classify")
@bp.post("/models/<name>:regress")
@bp.post("/models/<name>/versions/<int:version>:classify")
@bp.post("/models/<name>/versions/<int:version>:regress")
def classify(name: str, version: int | None = None) -> Response:
    check_servable(name, version)
    raise Conflict(look().model.how_to_import)


@bp.get("/models")
def list_models() -> Response:
    return respond(ModelNames([look().model.name]))


@bp.get("/models/<name>")
@bp.get("/models/<name>/versions/<int:version>")
def status(name: str, version: int | None = None) -> Response:
    if ":" in name:  # a method of POST, asked with GET
        raise malformed_request()
    check_servable(name, version)
    return respond(ModelStatus(name, True, [VersionStatus(str(look().model.version), "AVAILABLE", Status("OK", ""))]))


@bp.get("/models/<name>/metadata")
@bp.get("/models/<name>/versions/<int:version>/metadata")
def metadata(name: str, version: int | None = None) -> Response:
    check_servable(name, version)
    model = look().model
    described = {
        "inputs": {key: described_tensor(tensor) for key, tensor in model.inputs.items()},
        "outputs": {key: described_tensor(tensor) for key, tensor in model.outputs.items()},
        "method_name": model.signature.method_name,
        "defaults": {},
    }
    spec = {"name": name, "signature_name": "", "version": str(model.version)}
    return respond({"model_spec": spec, "metadata": {"signature_def": {"signature_def": {SIGNATURE: described}}}})


def described_tensor(tensor: Tensor) -> dict[str, Any]:
    sizes = [{"size": str(size), "name": ""} for size in tensor.shape or ()]
    shape = {"dim": sizes, "unknown_rank": tensor.shape is None}
    return {"dtype": kind_of(tensor).serving, "tensor_shape": shape, "name": tensor.name}


@bp.route("/", defaults={"rest": ""}, methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
@bp.route("/<path:rest>", methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
def malformed(rest: str) -> Response:
    """As TensorFlow Serving answers whatever is under /v1 and none of the above."""
    raise malformed_request()


def malformed_request() -> Exception:
    return BadRequest(f"Malformed request: {request.method} {request.path[:256]}")


def check_servable(name: str, version: int | None) -> None:
    model = look().model
    if name != model.name or version not in (None, model.version):
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFound(f"Servable not found for request: {wanted}; {model.name} version {model.version} is served.")
