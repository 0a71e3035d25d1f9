"""The Flask application of one HTTP worker."""

import logging
import re
import time
import uuid
from pathlib import Path

from flask import Flask, Response, g, jsonify, request
from gevent.threadpool import ThreadPool
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from service.config import Config
from service.engines import Engines
from service.errors import ServiceError
from service.inputs import ServiceRequest
from service.machine import available_cores
from service.metrics import LATENCY, REQUESTS
from service.views import Service, bp

log = logging.getLogger(__name__)

PROBES = ("/readyz", "/healthz")  # asked every few seconds; whoever asks sees the answer
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(config: Config, runtime: Path) -> Flask:
    """The application; `runtime` is the directory in which the supervisor keeps routes.json."""
    app = Flask(__name__, static_folder="static")
    app.request_class = ServiceRequest
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes + 1  # a chunked body is cut there, which tells it
    app.config["MAX_FORM_MEMORY_SIZE"] = config.max_body_bytes
    app.config["MAX_FORM_PARTS"] = config.max_images + 10
    app.json.sort_keys = False  # type: ignore[attr-defined]
    engines = Engines(runtime / "routes.json", queue_capacity=max(1, config.queue_capacity // num_workers(config)))
    decoders = ThreadPool(config.decode_threads or available_cores())
    app.extensions["striate"] = Service(config, engines, decoders)
    app.register_blueprint(bp)
    app.before_request(begin)
    app.after_request(finish)
    app.register_error_handler(ServiceError, answer_service_error)
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, answer_unforeseen)
    return app


def num_workers(config: Config) -> int:
    return config.workers or available_cores()


def begin() -> None:
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def finish(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "unknown"
    REQUESTS.labels(route, response.status_code).inc()
    LATENCY.labels(route).observe(time.perf_counter() - g.started)
    response.headers["X-Request-Id"] = g.request_id
    if request.method == "POST":
        response.headers["Cache-Control"] = "no-store"
    response.headers.update(SECURITY_HEADERS)
    if response.status_code >= 400 and route not in PROBES:
        log.log(
            logging.WARNING if response.status_code >= 500 else logging.INFO,
            "%s %s answered %d, request %s",
            request.method,
            request.path[:256],
            response.status_code,
            g.request_id,
        )
    return response


def answer_service_error(error: ServiceError) -> Response:
    return error_response(error.status, error.code, str(error), error.headers)


def answer_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    headers = {}
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(error.valid_methods)
    return error_response(
        status, error.name.lower().replace(" ", "_"), MESSAGES.get(status, str(error.description)), headers
    )


MESSAGES = {
    404: "There is nothing here; /openapi.json lists what there is.",
    405: "This path does not take this method; see the Allow header and /openapi.json.",
    413: "The body, or the number of its parts, is over the limit (SERVICE_MAX_BODY_BYTES, SERVICE_MAX_IMAGES).",
}


def answer_unforeseen(error: Exception) -> Response:
    log.exception("unforeseen, request %s", g.request_id)
    return error_response(500, "internal", "Something went wrong on our side; the log has this request's id.", {})


def error_response(status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    response = jsonify(error={"code": code, "message": message, "request_id": g.request_id})
    response.status_code = status
    response.headers.update(headers)
    return response
