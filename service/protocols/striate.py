"""Striate's own routes. A view reads the request, asks an engine, and writes the answer; it never touches a model."""

from typing import Annotated, Any

import msgspec
import numpy as np
from flask import Blueprint, Response, current_app, request
from msgspec import UNSET, Meta, UnsetType

from models.bundle.manifest import Task
from models.bundle.reference import at_least, most_probable
from service.errors import NotFound
from service.http.images import read_images, read_top_k
from service.http.json_body import respond
from service.inference.service import Service, service
from service.ipc.routes import Label, ModelRoute, State
from service.parsing.images import EncodedImage
from service.protocols.openapi import document
from service.protocols.operation import CLASSIFY_ERRORS, IMAGE_BODY, SECURITY_POLICY, answers
from service.telemetry.exposition import exposition
from service.telemetry.metrics import Drift
from service.telemetry.request_record import record

bp = Blueprint("striate", __name__)

Probability = Annotated[float, Meta(ge=0, le=1)]
# RapiDoc, which draws it, styles its elements one by one
DOCUMENTATION_POLICY = f"{SECURITY_POLICY}; style-src 'self' 'unsafe-inline'"
NO_DRIFT = "Drift is measured of models with one label an image only, and the live version gives any number of them."


class Class(msgspec.Struct):
    """One class of a prediction."""

    label: str
    index: int
    probability: Probability


class Prediction(msgspec.Struct):
    """The most probable class of one image, and the `top_k` most probable in order.

    `file` is the name that a form gave the image. `out_of_distribution` is the share of held-out images that are more
    usual than this one; `unlike_training_images` is true where that is above the threshold in the version's manifest.
    """

    label: str
    probability: Probability
    top: list[Class]
    file: str | UnsetType = UNSET
    out_of_distribution: Probability | UnsetType = UNSET
    unlike_training_images: bool | UnsetType = UNSET


class Classification(msgspec.Struct):
    """One prediction an image, in the request's order."""

    model: str
    version: int
    predictions: list[Prediction]


class MultiLabelPrediction(msgspec.Struct):
    """The labels of one image, which may be none: those with at least the threshold's probability, in order.

    `top` are the `top_k` most probable labels, whether they reach the threshold or not. Each probability is of its own
    label alone, so that they do not sum to 1. `file` is as in `Prediction`.
    """

    labels: list[Class]
    top: list[Class]
    file: str | UnsetType = UNSET


class MultiLabelClassification(msgspec.Struct):
    """What a model answers whose images have any number of labels: one prediction an image, in the request's order."""

    model: str
    version: int
    threshold: Probability
    predictions: list[MultiLabelPrediction]


class Version(msgspec.Struct):
    """A version of a model; what its manifest and its engine say is there once it has loaded.

    `precision` is the one it is computed in, and `precision_reason` says why. `threshold` is of a multi_label version:
    labels that are at least so probable are its answer.
    """

    version: int
    state: State
    live: bool
    reason: str | None
    restarts: int
    class_names: tuple[str, ...]
    input: dict[str, Any] | None
    task: Task = "single_label"
    threshold: Probability | UnsetType = UNSET
    architecture: str | UnsetType = UNSET
    drawing: dict[str, Any] | UnsetType | None = UNSET
    precision: str | UnsetType = UNSET
    precision_reason: str | UnsetType = UNSET
    shows_layers: bool | UnsetType = UNSET
    shows_training_images: bool | UnsetType = UNSET
    load_seconds: float | UnsetType = UNSET
    memory_bytes: int | UnsetType = UNSET
    devices: list[str] | UnsetType = UNSET
    accuracy: float | UnsetType | None = UNSET
    created_at: str | UnsetType | None = UNSET


class Model(msgspec.Struct):
    """A model: which versions have a part, and how far the latest images are from those it was tested on.

    Where the live version is multi_label, `drift` says why it is not measured, as `not_measured`.
    """

    name: str
    live: int | None
    labels: dict[Label, int]
    canary_fraction: float
    unloaded: bool
    takes_feedback: bool
    drift: dict[str, Any] | None
    versions: list[Version]


class Models(msgspec.Struct):
    """Every model, and the name of the default one."""

    default: str | None
    models: list[Model]


class Health(msgspec.Struct):
    """That something answers, and for /readyz which models do."""

    status: str
    models: list[str] | UnsetType = UNSET


@bp.post("/classify")
@answers(Classification, MultiLabelClassification, body=IMAGE_BODY, query=("top_k",), errors=CLASSIFY_ERRORS)
def classify_default() -> Response:
    """Classify with the default model."""
    return classify(service().targets.default_model())


@bp.post("/models/<name>/classify")
@bp.post("/models/<name>/versions/<int:version>/classify")
@answers(Classification, MultiLabelClassification, body=IMAGE_BODY, query=("top_k",), errors=CLASSIFY_ERRORS)
def classify(name: str, version: int | None = None) -> Response:
    """Classify every image in the request; predictions come back in the same order."""
    service().admit(name, version)
    top_k = read_top_k(request.args.get("top_k"))
    images = read_images(request, service().config, service().parse)
    return respond(classification(service(), name, version, images, top_k))


def classification(
    asked: Service, name: str, version: int | None, encoded: list[EncodedImage], top_k: int
) -> Classification | MultiLabelClassification:
    """Classify encoded images, whichever way the request came.

    Raises:
        ServiceError: as `Service.classify`.
    """
    target, probabilities = asked.classify(name, version, encoded)  # (N, num_classes)
    if target.route.task == "multi_label":
        threshold = target.route.threshold
        found = [describe_labels(row, target.route.class_names, top_k, threshold) for row in probabilities]
        for image, labelled in zip(encoded, found, strict=True):
            labelled.file = image.file or UNSET
        return MultiLabelClassification(name, target.version, threshold, found)
    predictions = [describe(row, target.route.class_names, top_k) for row in probabilities]
    far, unusual_above = record().out_of_distribution, target.route.unusual_above
    for i, prediction in enumerate(predictions):
        prediction.file = encoded[i].file or UNSET
        if far is not None:
            prediction.out_of_distribution = round(float(far[i]), 4)
            prediction.unlike_training_images = bool(unusual_above is not None and far[i] > unusual_above)
    return Classification(name, target.version, predictions)


def describe(row: np.ndarray, class_names: tuple[str, ...], top_k: int) -> Prediction:
    top = classes(row, class_names, most_probable(row, top_k))
    return Prediction(top[0].label, top[0].probability, top)


def describe_labels(
    row: np.ndarray, class_names: tuple[str, ...], top_k: int, threshold: float
) -> MultiLabelPrediction:
    return MultiLabelPrediction(
        classes(row, class_names, at_least(row, threshold)), classes(row, class_names, most_probable(row, top_k))
    )


def classes(row: np.ndarray, class_names: tuple[str, ...], chosen: list[int]) -> list[Class]:
    return [Class(class_names[i], i, round(float(row[i]), 6)) for i in chosen]


@bp.get("/models")
@answers(Models, errors=(400, 401))
def list_models() -> Response:
    """All models."""
    routes = service().engines.routes
    drift = service().drift()
    models = [describe_model(name, model, drift) for name, model in routes.models.items()]
    return respond(Models(routes.default_model, models))


@bp.get("/models/<name>")
@answers(Model, errors=(400, 401, 404))
def show_model(name: str) -> Response:
    """One model and its versions."""
    model = service().engines.routes.models.get(name)
    if model is None:
        raise NotFound("There is no model of this name; GET /models lists them.")
    return respond(describe_model(name, model, service().drift()))


def describe_model(name: str, model: ModelRoute, drift: Drift) -> Model:
    versions = [
        Version(
            version=number,
            state=route.state,
            live=number == model.live,
            reason=route.reason,
            restarts=route.restarts,
            class_names=route.class_names,
            input=route.input_spec.to_json() if route.input_spec else None,
            task=route.task,
            threshold=route.threshold if route.task == "multi_label" else UNSET,
            **route.description,
        )
        for number, route in sorted(model.versions.items(), reverse=True)
    ]
    measured = drift.get((name, model.live)) if model.live is not None else None
    takes_one_label = not has_many_labels(model)
    return Model(
        name=name,
        live=model.live,
        labels=model.labels,
        canary_fraction=model.canary_fraction,
        unloaded=model.unloaded,
        takes_feedback=takes_one_label and bool(service().config.feedback) and service().keys.anybody_may_teach,
        drift=measured if takes_one_label else {"not_measured": NO_DRIFT},
        versions=versions,
    )


def has_many_labels(model: ModelRoute) -> bool:
    """Whether the live version gives an image any number of labels."""
    route = model.versions.get(model.live) if model.live is not None else None
    return route is not None and route.task == "multi_label"


@bp.get("/healthz")
@answers(Health)
def healthz() -> Response:
    """Is this HTTP process alive, whatever its engines do?"""
    return respond(Health("alive"))


@bp.get("/readyz")
@answers(Health, errors=(404, 500, 503, 504))
def readyz() -> Response:
    """Do the required models answer (SERVICE_REQUIRED_MODELS; else the default model, else any)?

    Their engines classify a black image.
    """
    return respond(Health("ready", service().health.check_ready()))


@bp.get("/metrics")
@answers("text/plain", errors=(401,))
def metrics() -> Response:
    """Prometheus metrics in text format 0.0.4."""
    service().ledger.flush()
    return Response(
        exposition(service().engines.routes, service().drift()), mimetype="text/plain; version=0.0.4; charset=utf-8"
    )


@bp.get("/openapi.json")
@answers(dict[str, Any])
def openapi() -> Response:
    """This document."""
    return respond(document(current_app._get_current_object()))  # type: ignore[attr-defined]


@bp.get("/docs")
@answers("text/html")
def documentation() -> Response:
    """The page on which this document can be read and every route tried."""
    page = current_app.send_static_file("docs.html")
    page.headers["Content-Security-Policy"] = DOCUMENTATION_POLICY
    return page


@bp.get("/")
@answers("text/html")
def page() -> Response:
    """The page: try the model on a picture or a drawing."""
    return current_app.send_static_file("index.html")
