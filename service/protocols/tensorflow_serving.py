"""TensorFlow Serving's REST API under /v1, and with it KServe's first protocol, for their clients.

https://github.com/tensorflow/serving/blob/2.20.0/tensorflow_serving/g3doc/api_rest.md; errors are `{"error": "..."}`.
Images are `{"b64": "..."}` of an encoded file, under whatever signature, or nested lists of the decoded pixels.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from flask import Blueprint, Response, request
from msgspec import UNSET, UnsetType

from models.bundle.reference import most_probable
from service.errors import BadRequest, NotFound
from service.http.bodies import read_bytes
from service.http.images import read_top_k
from service.http.json_body import respond
from service.inference.service import service
from service.inference.targets import Target
from service.ipc.routes import ModelRoute, State
from service.parsing.kinds import CLASSIFY, PREDICT
from service.parsing.tensorflow_serving import Asked, ClassifyRequest, PredictRequest
from service.protocols.operation import ProtocolError, answers

bp = Blueprint("tensorflow_serving", __name__, url_prefix="/v1")

STATES: dict[State, str] = {
    "loading": "LOADING",
    "available": "AVAILABLE",
    "idle": "AVAILABLE",
    "restarting": "LOADING",
    "parked": "LOADING",
    "rejected": "END",
}
METHOD = "tensorflow/serving/predict"
FLOAT, STRING, UINT8 = "DT_FLOAT", "DT_STRING", "DT_UINT8"


ERRORS = (400, 401, 404, 500, 503, 504)
SERVING_ERRORS = (*ERRORS, 408, 413, 415)


class Predicted(msgspec.Struct):
    """Probabilities (N, num_classes), under the key that answers the request's."""

    predictions: list[list[float]] | UnsetType = UNSET
    outputs: list[list[float]] | UnsetType = UNSET


class Classified(msgspec.Struct):
    """One list of (label, probability) an example, the most probable first."""

    results: list[list[tuple[str, float]]]


class ModelNames(msgspec.Struct):
    """The names of all models."""

    models: list[str]


class Status(msgspec.Struct):
    """An error code of gRPC, and what is wrong."""

    error_code: str
    error_message: str


class VersionStatus(msgspec.Struct):
    """The state of a version; its number is text."""

    version: str
    state: str
    status: Status


class ModelStatus(msgspec.Struct):
    """`ready` is for KServe's clients."""

    name: str
    ready: bool
    model_version_status: list[VersionStatus]


@bp.post("/models/<name>:predict")
@bp.post("/models/<name>/versions/<int:version>:predict")
@bp.post("/models/<name>/labels/<label>:predict")
@answers(Predicted, body=(PredictRequest,), errors=SERVING_ERRORS, error=ProtocolError)
def predict(name: str, version: int | None = None, label: str | None = None) -> Response:
    """TensorFlow Serving: probabilities of every class; `predictions` for `instances`, `outputs` for `inputs`."""
    with servable(name, version, label) as asked:
        service().admit(name, asked)
    body = read_bytes(request, service().config)
    asked_for = service().parse(PREDICT, body, service().config.max_images)
    _, probabilities = ask(name, version, label, asked_for)
    if asked_for.key == "instances":
        return respond(Predicted(predictions=probabilities.tolist()))
    return respond(Predicted(outputs=probabilities.tolist()))


@bp.post("/models/<name>:classify")
@bp.post("/models/<name>/versions/<int:version>:classify")
@bp.post("/models/<name>/labels/<label>:classify")
@answers(Classified, body=(ClassifyRequest,), query=("top_k",), errors=SERVING_ERRORS, error=ProtocolError)
def classify(name: str, version: int | None = None, label: str | None = None) -> Response:
    """TensorFlow Serving: labels and probabilities, the most probable first."""
    with servable(name, version, label) as asked:
        service().admit(name, asked)
    top_k = read_top_k(request.args.get("top_k"))
    body = read_bytes(request, service().config)
    chosen, probabilities = ask(name, version, label, service().parse(CLASSIFY, body, service().config.max_images))
    names = chosen.route.class_names
    results = [[(names[i], float(row[i])) for i in most_probable(row, top_k)] for row in probabilities]
    return respond(Classified(results))


@bp.get("/models")
@answers(ModelNames, errors=(400, 401), error=ProtocolError)
def list_models() -> Response:
    """KServe: the names of all models."""
    return respond(ModelNames(list(service().engines.routes.models)))


@bp.get("/models/<name>")
@bp.get("/models/<name>/versions/<int:version>")
@bp.get("/models/<name>/labels/<label>")
@answers(ModelStatus, errors=ERRORS, error=ProtocolError)
def status(name: str, version: int | None = None, label: str | None = None) -> Response:
    """TensorFlow Serving, KServe: the state of all versions or of one."""
    model, asked = find_model(name), version_of(name, version, label)
    if model is None or not model.versions:
        raise NotFound(f"Could not find any versions of model {name}")
    if asked is not None and asked not in model.versions:
        raise NotFound(f"Could not find version {asked} of model {name}")
    numbers = sorted(model.versions, reverse=True) if asked is None else [asked]
    answering = model.live if asked is None else asked
    ready = answering is not None and model.versions[answering].state in ("available", "idle")
    states = []
    for number in numbers:
        route = model.versions[number]
        code = "FAILED_PRECONDITION" if route.state == "rejected" else "OK"
        states.append(VersionStatus(str(number), STATES[route.state], Status(code, route.reason or "")))
    return respond(ModelStatus(name, ready, states))


@bp.get("/models/<name>/metadata")
@bp.get("/models/<name>/versions/<int:version>/metadata")
@bp.get("/models/<name>/labels/<label>/metadata")
@answers(dict[str, Any], errors=ERRORS, error=ProtocolError)
def metadata(name: str, version: int | None = None, label: str | None = None) -> Response:
    """TensorFlow Serving: the signatures of the SavedModel."""
    with servable(name, version, label) as asked:
        chosen = service().targets.find(name, asked)
    probabilities = {"probabilities": tensor(FLOAT, len(chosen.route.class_names), name="StatefulPartitionedCall:0")}
    signatures = {
        "serving_default": {"images": tensor(UINT8, *chosen.spec.shape, name="serving_default_images:0")},
        "serving_bytes": {"image_bytes": tensor(STRING, name="serving_bytes_image_bytes:0")},
    }
    described = {
        signature: {"inputs": inputs, "outputs": probabilities, "method_name": METHOD, "defaults": {}}
        for signature, inputs in signatures.items()
    }
    spec = {"name": name, "signature_name": "", "version": str(chosen.version)}
    return respond({"model_spec": spec, "metadata": {"signature_def": {"signature_def": described}}})


@bp.route("/", defaults={"rest": ""}, methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
@bp.route("/<path:rest>", methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
def malformed(rest: str) -> Response:
    """TensorFlow Serving answers 400 to whatever is under /v1 and none of the above."""
    raise BadRequest(f"Malformed request: {request.method} {request.path[:256]}")


@contextlib.contextmanager
def servable(name: str, version: int | None, label: str | None) -> Iterator[int | None]:
    """The version that is named by its number or has this label now; None where neither is given."""
    asked = version_of(name, version, label)
    try:
        yield asked
    except NotFound:
        wanted = f"Latest({name})" if asked is None else f"Specific({name}, {asked})"
        raise NotFound(f"Servable not found for request: {wanted}") from None


def version_of(name: str, version: int | None, label: str | None) -> int | None:
    if label is None:
        return version
    model = find_model(name)
    if model is None:
        raise NotFound(f"Servable not found for request: Latest({name})")
    number = next((number for known, number in model.labels.items() if known == label), None)
    if number is None:
        raise BadRequest(f"Unrecognized servable version label: {label}")
    return number


def find_model(name: str) -> ModelRoute | None:
    if ":" in name:  # a method of POST, asked with GET
        raise BadRequest(f"Malformed request: {request.method} {request.path[:256]}")
    return service().engines.routes.models.get(name)


def ask(name: str, version: int | None, label: str | None, asked_for: Asked) -> tuple[Target, np.ndarray]:
    """What answered, and its probabilities (N, num_classes)."""
    with servable(name, version, label) as asked:
        return service().classify(name, asked, asked_for.batch.images)


def tensor(dtype: str, *dimensions: int, name: str) -> dict[str, Any]:
    sizes = [{"size": str(size), "name": ""} for size in (-1, *dimensions)]
    return {"dtype": dtype, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": name}
