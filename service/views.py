"""The routes. A view reads the request, asks an engine, and writes the answer; it never touches a model."""

import contextlib
import time
from functools import partial
from typing import Any

import numpy as np
from flask import Blueprint, Response, current_app, jsonify, request
from gevent.threadpool import ThreadPool

from models.preprocessing import BadImage, InputSpec, decode_image
from service.config import Config
from service.engines import Engines, find_version
from service.errors import NotFound, NotReady, Overloaded, from_bad_image
from service.inputs import EncodedImage, read_images, read_top_k
from service.metrics import DECODE, exposition
from service.openapi import DOCUMENT
from service.routes import ModelRoute, VersionRoute

bp = Blueprint("striate", __name__)


class Service:
    """What the views of one HTTP worker share."""

    def __init__(self, config: Config, engines: Engines, decoders: ThreadPool) -> None:
        self.config = config
        self.engines = engines
        self.decoders = decoders


def service() -> Service:
    return current_app.extensions["striate"]


@bp.post("/classify")
def classify_default() -> Response:
    """Classify with the default model."""
    return classify(default_model())


@bp.post("/models/<name>/classify")
@bp.post("/models/<name>/versions/<int:version>/classify")
def classify(name: str, version: int | None = None) -> Response:
    """Classify every image in the request; predictions come back in the same order."""
    deadline = time.monotonic() + service().config.deadline_s
    # One version serves this whole request, whatever goes live meanwhile.
    number, route = find_version(service().engines.routes, name, version)
    top_k = read_top_k(request)
    config = service().config
    encoded = read_images(
        request,
        max_images=config.max_images,
        max_bytes=config.max_body_bytes,
        read_timeout_s=config.read_timeout_s,
    )
    images = decode_all(encoded, route, (name, str(number)))
    probabilities = service().engines.infer((name, number), images, deadline)  # (N, num_classes)
    predictions = [
        {**({"file": image.file} if image.file else {}), **describe(row, route.class_names, top_k)}
        for image, row in zip(encoded, probabilities, strict=True)
    ]
    return jsonify(model=name, version=number, predictions=predictions)


def decode_all(encoded: list[EncodedImage], route: VersionRoute, labels: tuple[str, str]) -> list[np.ndarray]:
    """Decode in the worker's threads; the first image that cannot be decoded is named."""
    assert route.input_spec is not None  # find_version says so
    decode = partial(timed_decode, route.input_spec, service().config.max_pixels)
    results = [service().decoders.spawn(decode, image.data) for image in encoded]
    images = []
    for image, result in zip(encoded, results, strict=True):
        decoded, seconds = result.get()
        DECODE.labels(*labels).observe(seconds)
        if isinstance(decoded, BadImage):
            raise from_bad_image(decoded, image.position)
        images.append(decoded)
    return images


def timed_decode(spec: InputSpec, max_pixels: int, data: bytes) -> tuple[np.ndarray | BadImage, float]:
    """Runs in a thread, from which exceptions would be printed; so a bad image is returned."""
    started = time.perf_counter()
    try:
        return decode_image(data, spec, max_pixels=max_pixels), time.perf_counter() - started
    except BadImage as error:
        return error, time.perf_counter() - started


def describe(row: np.ndarray, class_names: tuple[str, ...], top_k: int) -> dict[str, Any]:
    """One prediction: the first class, and the `top_k` most probable in order."""
    order = np.argsort(-row, kind="stable")[:top_k].tolist()
    top = [{"label": class_names[i], "index": i, "probability": round(float(row[i]), 6)} for i in order]
    return {"label": top[0]["label"], "probability": top[0]["probability"], "top": top}


def default_model() -> str:
    routes = service().engines.routes
    if routes.default_model is None:
        if not routes.models:
            raise NotReady("No model is published yet.")
        raise NotFound(
            f"There are several models: POST to /models/<name>/classify, name one of {', '.join(routes.models)}."
        )
    return routes.default_model


@bp.get("/models")
def list_models() -> Response:
    routes = service().engines.routes
    models = [describe_model(name, model) for name, model in routes.models.items()]
    return jsonify(default=routes.default_model, models=models)


@bp.get("/models/<name>")
def show_model(name: str) -> Response:
    model = service().engines.routes.models.get(name)
    if model is None:
        raise NotFound("There is no model of this name; GET /models lists them.")
    return jsonify(describe_model(name, model))


def describe_model(name: str, model: ModelRoute) -> dict[str, Any]:
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
    return {"name": name, "live": model.live, "versions": versions}


@bp.get("/healthz")
def healthz() -> Response:
    """This worker is alive, whatever its engines do."""
    return jsonify(status="alive")


@bp.get("/readyz")
def readyz() -> Response:
    """The default model (or, without one, every model) answers: a black image goes through its engine."""
    routes = service().engines.routes
    if routes.draining:
        raise NotReady("The service is stopping.")
    names = [routes.default_model] if routes.default_model else list(routes.models)
    if not names:
        raise NotReady("No model is published yet.")
    for name in names:
        ask_black_image(name)
    return jsonify(status="ready", models=names)


def ask_black_image(name: str) -> None:
    number, route = find_version(service().engines.routes, name, None)
    if route.state != "available" or route.input_spec is None:
        raise NotReady(f"The engine of {name} version {number} is {route.state}.")
    image = np.zeros(route.input_spec.shape, np.uint8)
    with contextlib.suppress(Overloaded):  # a full queue is a sign of life
        service().engines.infer((name, number), [image], time.monotonic() + service().config.deadline_s)


@bp.get("/metrics")
def metrics() -> Response:
    return Response(exposition(service().engines.routes), mimetype="text/plain; version=0.0.4; charset=utf-8")


@bp.get("/openapi.json")
def openapi() -> Response:
    return jsonify(DOCUMENT)


@bp.get("/")
def page() -> Response:
    return current_app.send_static_file("index.html")
