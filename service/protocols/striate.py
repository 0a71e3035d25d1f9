"""Striate's own routes. A view reads the request, asks an engine, and writes the answer; it never touches a model."""

from typing import Any

import numpy as np
from flask import Blueprint, Response, current_app, jsonify, request

from service.errors import NotFound
from service.http.images import read_images, read_top_k
from service.inference.service import service
from service.ipc.routes import ModelRoute
from service.protocols.openapi import DOCUMENT
from service.telemetry.metrics import Drift, exposition
from service.telemetry.request_record import record

bp = Blueprint("striate", __name__)


@bp.post("/classify")
def classify_default() -> Response:
    """Classify with the default model."""
    return classify(service().targets.default_model())


@bp.post("/models/<name>/classify")
@bp.post("/models/<name>/versions/<int:version>/classify")
def classify(name: str, version: int | None = None) -> Response:
    """Classify every image in the request; predictions come back in the same order."""
    service().admit(name, version)
    top_k = read_top_k(request)
    encoded = read_images(request, service().config)
    chosen, probabilities = service().classify(name, version, encoded)  # (N, num_classes)
    predictions = [
        {**({"file": image.file} if image.file else {}), **describe(row, chosen.route.class_names, top_k)}
        for image, row in zip(encoded, probabilities, strict=True)
    ]
    far = record().out_of_distribution
    for prediction, score in zip(predictions, [] if far is None else far.tolist(), strict=far is not None):
        prediction["out_of_distribution"] = round(score, 4)
    return jsonify(model=name, version=chosen.version, predictions=predictions)


def describe(row: np.ndarray, class_names: tuple[str, ...], top_k: int) -> dict[str, Any]:
    """One prediction: the first class, and the `top_k` most probable in order."""
    order = np.argsort(-row, kind="stable")[:top_k].tolist()
    top = [{"label": class_names[i], "index": i, "probability": round(float(row[i]), 6)} for i in order]
    return {"label": top[0]["label"], "probability": top[0]["probability"], "top": top}


@bp.get("/models")
def list_models() -> Response:
    routes = service().engines.routes
    drift = service().drift()
    models = [describe_model(name, model, drift) for name, model in routes.models.items()]
    return jsonify(default=routes.default_model, models=models)


@bp.get("/models/<name>")
def show_model(name: str) -> Response:
    model = service().engines.routes.models.get(name)
    if model is None:
        raise NotFound("There is no model of this name; GET /models lists them.")
    return jsonify(describe_model(name, model, service().drift()))


def describe_model(name: str, model: ModelRoute, drift: Drift) -> dict[str, Any]:
    versions = [
        {
            "version": number,
            "state": route.state,
            "live": number == model.live,
            "reason": route.reason,
            "restarts": route.restarts,
            "class_names": list(route.class_names),
            "input": route.input_spec.to_json() if route.input_spec else None,
            **route.description,
        }
        for number, route in sorted(model.versions.items(), reverse=True)
    ]
    return {
        "name": name,
        "live": model.live,
        "labels": model.labels,
        "canary_fraction": model.canary_fraction,
        "unloaded": model.unloaded,
        "takes_feedback": bool(service().config.feedback) and service().keys.anybody_may_teach,
        "drift": drift.get((name, model.live)) if model.live is not None else None,
        "versions": versions,
    }


@bp.get("/healthz")
def healthz() -> Response:
    """This worker is alive, whatever its engines do."""
    return jsonify(status="alive")


@bp.get("/readyz")
def readyz() -> Response:
    """The required models answer: a black image goes through their engines."""
    return jsonify(status="ready", models=service().health.check_ready())


@bp.get("/metrics")
def metrics() -> Response:
    return Response(
        exposition(service().engines.routes, service().drift()), mimetype="text/plain; version=0.0.4; charset=utf-8"
    )


@bp.get("/openapi.json")
def openapi() -> Response:
    return jsonify(DOCUMENT)


@bp.get("/")
def page() -> Response:
    return current_app.send_static_file("index.html")
