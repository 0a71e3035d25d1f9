"""The Open Inference Protocol, version 2, under /v2, as KServe and Triton speak it; over HTTP.

https://github.com/open-inference/open-inference-protocol, with Triton's extensions binary_tensor_data, classification,
model_repository (loading is in `service.protocols.admin`), statistics and parameters
(https://github.com/triton-inference-server/server/tree/main/docs/protocol). An input is `images`: UINT8 of decoded
pixels, or BYTES of encoded files of any size, which the service decodes.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Blueprint, Response, request
from msgspec import UNSET, UnsetType

from models.version import VERSION
from service.errors import NotFound, NotReady
from service.http.bodies import read_bytes
from service.http.json_body import read_document, respond
from service.inference.service import service
from service.ipc.routes import ModelRoute
from service.parsing.kinds import INFER
from service.parsing.open_inference import HEADER_LENGTH, INPUTS, OUTPUT, InferenceRequest
from service.protocols.operation import ProtocolError, answers
from service.protocols.tensorflow_serving import list_models
from service.protocols.tensors import answer_of
from service.telemetry.exposition import statistics

bp = Blueprint("open_inference", __name__, url_prefix="/v2")

EXTENSIONS = ("binary_tensor_data", "classification", "model_repository", "parameters", "statistics")
PLATFORM = "tensorflow_savedmodel"
STATES = {"loading": "LOADING", "available": "READY", "restarting": "UNAVAILABLE", "idle": "READY"}
STATES |= {"parked": "UNAVAILABLE", "rejected": "UNAVAILABLE"}


ERRORS = (400, 401, 404, 500, 503, 504)
INFER_ERRORS = (*ERRORS, 408, 413, 415)


class Server(msgspec.Struct):
    """The server and its extensions of the protocol."""

    name: str
    version: str
    extensions: tuple[str, ...]


class Live(msgspec.Struct):
    """That this process is alive."""

    live: bool


class Ready(msgspec.Struct):
    """That models answer; `name` where one was asked for."""

    ready: bool
    name: str | UnsetType = UNSET


class TensorMetadata(msgspec.Struct):
    """An input or output; -1 is any number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """Inputs and outputs of a model, and its versions that answer."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IndexRequest(msgspec.Struct):
    """`ready`: list only what answers."""

    ready: bool = False


class IndexRow(msgspec.Struct):
    """A version and its state."""

    name: str
    version: str
    state: str
    reason: str


class Statistics(msgspec.Struct):
    """Counts and nanoseconds of each version, as Triton's statistics extension has them."""

    model_stats: list[dict[str, Any]]


@bp.get("")
@bp.get("/")
@answers(Server, errors=(400, 401), error=ProtocolError)
def server() -> Response:
    """Open Inference Protocol: the server."""
    return respond(Server("striate", VERSION, EXTENSIONS))


@bp.get("/health/live")
@answers(Live)
def live() -> Response:
    """Open Inference Protocol: is this process alive?"""
    return respond(Live(True))


@bp.get("/health/ready")
@answers(Ready, errors=ERRORS, error=ProtocolError)
def ready() -> Response:
    """Open Inference Protocol: do the required models answer?"""
    service().health.check_ready()
    return respond(Ready(True))


bp.get("/models")(list_models)  # as KServe's first protocol has it


@bp.get("/models/<name>")
@bp.get("/models/<name>/versions/<int:version>")
@answers(ModelMetadata, errors=ERRORS, error=ProtocolError)
def metadata(name: str, version: int | None = None) -> Response:
    """Open Inference Protocol: inputs and outputs."""
    with model_named(name, version):
        target = service().targets.find(name, version)
    numbers = [str(number) for number, route in known(name).versions.items() if route.state in ("available", "idle")]
    images = TensorMetadata(INPUTS[0], "UINT8", [-1, *target.spec.shape])
    probabilities = TensorMetadata(OUTPUT, "FP32", [-1, len(target.route.class_names)])
    return respond(ModelMetadata(name, numbers, PLATFORM, [images], [probabilities]))


@bp.get("/models/<name>/ready")
@bp.get("/models/<name>/versions/<int:version>/ready")
@answers(Ready, errors=ERRORS, error=ProtocolError)
def model_ready(name: str, version: int | None = None) -> Response:
    """Open Inference Protocol: does this model answer?"""
    known(name)
    service().health.check(name, version)
    return respond(Ready(True, name))


@bp.post("/models/<name>/infer")
@bp.post("/models/<name>/versions/<int:version>/infer")
@answers(
    dict[str, Any],
    "application/octet-stream",
    body=(InferenceRequest, "application/octet-stream"),
    header=HEADER_LENGTH,
    errors=INFER_ERRORS,
    error=ProtocolError,
)
def infer(name: str, version: int | None = None) -> Response:
    """Open Inference Protocol: probabilities, or with the classification extension classes, of every image."""
    with model_named(name, version):
        service().admit(name, version)
        body, config = read_bytes(request, service().config), service().config
        asked = service().parse(INFER, body, request.headers.get(HEADER_LENGTH), name, config.max_images)
        target, probabilities = service().classify(name, version, asked.batch.images, timeout_s=asked.timeout_s)
    return answer_of(target, asked, probabilities)


@bp.post("/repository/index")
@answers(list[IndexRow], body=(IndexRequest,), errors=(400, 401, 408, 413, 415), error=ProtocolError)
def index() -> Response:
    """Open Inference Protocol: every model and version, or with {"ready": true} those that answer."""
    only_ready = read_document(IndexRequest, service().config).ready
    models = service().engines.routes.models
    rows = [
        IndexRow(name, str(number), STATES[route.state], route.reason or "")
        for name, model in models.items()
        for number, route in sorted(model.versions.items())
    ]
    rows += [IndexRow(name, "", "UNAVAILABLE", "unloaded") for name, model in models.items() if model.unloaded]
    return respond([row for row in rows if row.state == "READY" or not only_ready])


@bp.get("/models/stats")
@bp.get("/models/<name>/stats")
@bp.get("/models/<name>/versions/<int:version>/stats")
@answers(Statistics, errors=ERRORS, error=ProtocolError)
def stats(name: str | None = None, version: int | None = None) -> Response:
    """Open Inference Protocol: how many images each version has answered, and the time that took."""
    models = service().engines.routes.models if name is None else {name: known(name)}
    wanted = [
        (model, number) for model, route in models.items() for number in route.versions if version in (None, number)
    ]
    return respond(Statistics(statistics(wanted)))


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
