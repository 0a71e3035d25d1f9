"""The Flask application of one HTTP worker."""

import logging
from pathlib import Path

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import IntegerConverter

from service.config import Config, split_list
from service.errors import ServiceError
from service.http.compression import pack, unpack
from service.http.json_body import JSON
from service.inference.service import Service, service
from service.inference.targets import TIMEOUT_HEADER
from service.ipc.counts import Counts
from service.parsing.forms import TOO_LARGE
from service.parsing.open_inference import HEADER_LENGTH
from service.protocols import admin, explain, feedback, lineage, open_inference, striate, tensorflow_serving, torchserve
from service.protocols.operation import OPERATIONS
from service.telemetry.ledger import PROBES
from service.telemetry.request_record import Record, record
from service.worker.answers import SECURITY_HEADERS, UNFORESEEN, error_body

log = logging.getLogger(__name__)

PAGE = ("/", "/docs", "/label", "/static/<path:filename>", "/openapi.json")
LINEAGE, METRICS = "/models/<name>/versions", "/metrics"
ALLOWED_HEADERS = (
    f"Authorization, Content-Type, Content-Encoding, X-API-Key, X-Request-Id, {TIMEOUT_HEADER}, {HEADER_LENGTH}"
)


def create_app(config: Config, runtime: Path, counts: Counts | None = None) -> Flask:
    """The application; `runtime` is the directory in which the supervisor keeps routes.json."""
    app = Flask("service")
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes + 1  # a chunked body is cut there, which tells it
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.converters["int"] = AsciiInteger
    app.extensions["striate"] = Service(config, runtime, counts)
    app.extensions["origins"] = frozenset(split_list(config.cors_origins))
    for module in (striate, admin, explain, feedback, lineage, tensorflow_serving, open_inference, torchserve):
        app.register_blueprint(module.bp)
    app.before_request(begin)
    app.after_request(finish)
    app.register_error_handler(ServiceError, lambda e: error_response(e.status, e.code, str(e), e.headers))
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, answer_unforeseen)
    return app


class AsciiInteger(IntegerConverter):
    """<int:...> of a route: Werkzeug's own takes the digits of every script."""

    regex = r"[0-9]+"


def begin() -> Response | None:
    socket, speaks_1_1 = request.environ.get("gunicorn.socket"), request.environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    Record(request.method, request.path, request.headers, request.mimetype, socket, speaks_1_1)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return Response(status=204)  # CORS preflight request; `finish` adds the headers
    if rule() not in (*PROBES, *PAGE) and not (rule() == LINEAGE and lineage.wants_page()):
        service().authorise(request.headers, "predict")
        operation = OPERATIONS.get(current_app.view_functions.get(request.endpoint or "", begin))
        if operation is not None and rule() != METRICS:
            operation.check_query(list(request.args))
    unpack(request, service().config.max_body_bytes)
    return None


def rule() -> str:
    """The route's pattern; nothing that a client could make up."""
    return request.url_rule.rule if request.url_rule else "unknown"


def finish(response: Response) -> Response:
    for name, value in {"X-Request-Id": record().request_id, **SECURITY_HEADERS}.items():
        response.headers.setdefault(name, value)
    if request.method == "POST":
        response.headers["Cache-Control"] = "no-store"
    allow_origin(response)
    pack(request, response)
    service().note(rule(), response.status_code)
    return response


def allow_origin(response: Response) -> None:
    """CORS, for the pages that the operator names."""
    allowed: frozenset[str] = current_app.extensions["origins"]
    if not allowed:
        return
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin in allowed:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE"
        asked = service().config.canary_header
        response.headers["Access-Control-Allow-Headers"] = f"{ALLOWED_HEADERS}, {asked}" if asked else ALLOWED_HEADERS
        response.headers["Access-Control-Expose-Headers"] = f"X-Request-Id, Retry-After, {HEADER_LENGTH}"


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
    413: TOO_LARGE,
}


def answer_unforeseen(error: Exception) -> Response:
    log.exception("unforeseen, request %s", record().request_id)
    return error_response(*UNFORESEEN, {})


def error_response(status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    status, body = error_body(status, code, message)
    response = Response(body, status, mimetype=JSON)
    response.headers.update(headers)
    return response
