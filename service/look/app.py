"""The Flask application that serves one SavedModel for a look."""

import logging
import time
import uuid

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from service.config import Config
from service.errors import Conflict, ServiceError
from service.http.api_keys import Keys
from service.http.compression import pack, unpack
from service.http.json_body import respond
from service.logs import FIELDS
from service.look import open_inference, tensorflow_serving
from service.look.context import Look, look
from service.look.engine import Engine
from service.look.saved_model import SavedModel
from service.protocols.operation import Error, ErrorDetails, ProtocolError
from service.worker.answers import SECURITY_HEADERS
from service.worker.app import AsciiInteger

log = logging.getLogger(__name__)

PROBES = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
# What a published model answers there is made of images and labels.
NEED_LABELS = ("/", "/label", "/classify", "/models", "/models/<path:rest>", "/predictions/<path:rest>")
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]


def create_app(config: Config, keys: Keys, model: SavedModel, engine: Engine) -> Flask:
    app = Flask("service")
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes + 1  # a chunked body is cut there, which tells it
    app.url_map.converters["int"] = AsciiInteger
    app.extensions["look"] = Look(config, model, engine)
    app.extensions["keys"] = keys
    for module in (tensorflow_serving, open_inference):
        app.register_blueprint(module.bp)
    for probe in ("/healthz", "/readyz"):
        app.add_url_rule(probe, probe, lambda: Response("ok\n", mimetype="text/plain"))
    for path in NEED_LABELS:
        app.add_url_rule(path, path, refuse, methods=METHODS)
    app.before_request(begin)
    app.after_request(finish)
    app.register_error_handler(ServiceError, lambda e: error_response(e.status, e.code, str(e), e.headers))
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, answer_unforeseen)
    return app


def refuse(rest: str = "") -> Response:
    raise Conflict(look().model.how_to_import)


def begin() -> None:
    g.request_id, g.began = uuid.uuid4().hex, time.monotonic()
    if request.path not in PROBES:
        keys().check(request.headers, "predict")
    unpack(request, look().config.max_body_bytes)


def keys() -> Keys:
    found: Keys = current_app.extensions["keys"]
    return found


def finish(response: Response) -> Response:
    for name, value in {"X-Request-Id": g.request_id, **SECURITY_HEADERS}.items():
        response.headers.setdefault(name, value)
    if request.method == "POST":
        response.headers["Cache-Control"] = "no-store"
    pack(request, response)
    if request.path not in PROBES:
        fields = {"request_id": g.request_id, "status": response.status_code}
        fields |= {"duration_ms": round((time.monotonic() - g.began) * 1000, 1)}
        message = f"{request.method} {request.path[:256]} {response.status_code}"
        level = logging.WARNING if response.status_code >= 500 else logging.INFO
        log.log(level, "%s", message, extra={FIELDS: fields})
    return response


def answer_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    message = look().model.how_to_import if status == 404 else str(error.description)
    response = error_response(status, error.name.lower().replace(" ", "_"), message, {})
    response.headers.update({name: value for name, value in error.get_headers() if name == "Allow"})
    return response


def answer_unforeseen(error: Exception) -> Response:
    log.exception("unforeseen, request %s", g.request_id)
    return error_response(500, "internal", "Something went wrong on our side; the log has this request's id.", {})


def error_response(status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    """In the words of the protocol that was spoken."""
    if request.path.startswith(("/v1/", "/v2")):
        response = respond(ProtocolError(message), 400 if status == 422 else status)  # which their clients know
    else:
        response = respond(Error(ErrorDetails(code, message, g.request_id)), status)
    response.headers.update(headers)
    return response
