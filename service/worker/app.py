"""The Flask application of one HTTP worker."""

import logging
import uuid
from pathlib import Path

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import IntegerConverter

from service.config import Config, split_list
from service.errors import ServiceError
from service.http.bodies import ServiceRequest
from service.http.compression import pack, unpack
from service.http.json_body import respond
from service.inference.service import Service, service
from service.inference.targets import TIMEOUT_HEADER
from service.logs import FIELDS
from service.protocols import admin, feedback, lineage, open_inference, striate, tensorflow_serving, torchserve
from service.protocols.operation import OPERATIONS, Error, ErrorDetails, ProtocolError, TorchServeError
from service.protocols.tensors import HEADER_LENGTH
from service.telemetry.metrics import note_request
from service.telemetry.request_record import REQUEST_ID, Record, record
from service.telemetry.tracing import tracer_for

log = logging.getLogger(__name__)

PROBES = ("/readyz", "/healthz", "/ping", "/v2/health/live", "/v2/health/ready")  # asked every few seconds, by anybody
PAGE = ("/", "/label", "/static/<path:filename>", "/openapi.json")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
LINEAGE, METRICS = "/models/<name>/versions", "/metrics"
ALLOWED_HEADERS = (
    f"Authorization, Content-Type, Content-Encoding, X-API-Key, X-Request-Id, {TIMEOUT_HEADER}, {HEADER_LENGTH}"
)


def create_app(config: Config, runtime: Path) -> Flask:
    """The application; `runtime` is the directory in which the supervisor keeps routes.json."""
    app = Flask("service")
    app.request_class = ServiceRequest
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes + 1  # a chunked body is cut there, which tells it
    app.config["MAX_FORM_MEMORY_SIZE"] = config.max_body_bytes
    app.config["MAX_FORM_PARTS"] = config.max_images + 10
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.converters["int"] = AsciiInteger
    app.extensions["striate"] = Service(config, runtime)
    app.extensions["tracer"] = tracer_for(config)
    app.extensions["origins"] = frozenset(split_list(config.cors_origins))
    for module in (striate, admin, feedback, lineage, tensorflow_serving, open_inference, torchserve):
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
    given = request.headers.get("X-Request-Id", "")
    g.record = Record(given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return Response(status=204)  # CORS preflight request; `finish` adds the headers
    if rule() not in (*PROBES, *PAGE) and not (rule() == LINEAGE and lineage.wants_page()):
        service().keys.check(request.headers, "predict")
        operation = OPERATIONS.get(current_app.view_functions.get(request.endpoint or "", begin))
        if operation is not None and rule() != METRICS:
            operation.check_query(list(request.args))
    unpack(request, service().config.max_body_bytes)
    return None


def rule() -> str:
    """The route's pattern; nothing that a client could make up."""
    return request.url_rule.rule if request.url_rule else "unknown"


def finish(response: Response) -> Response:
    note_request(record(), rule(), response.status_code)
    for name, value in {"X-Request-Id": record().request_id, **SECURITY_HEADERS}.items():
        response.headers.setdefault(name, value)
    if request.method == "POST":
        response.headers["Cache-Control"] = "no-store"
    allow_origin(response)
    pack(request, response)
    write_line(response)
    if current_app.extensions["tracer"] is not None:
        current_app.extensions["tracer"].write(record(), rule(), request.headers.get("traceparent"))
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


def write_line(response: Response) -> None:
    """One line a request; none for probes, whose asker sees the answer."""
    status = response.status_code
    if rule() in PROBES:
        return
    level = logging.WARNING if status >= 500 else logging.INFO
    if log.isEnabledFor(level):
        message = f"{request.method} {request.path[:256]} {status}"
        log.log(level, "%s", message, extra={FIELDS: record().fields(status)})


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
    log.exception("unforeseen, request %s", record().request_id)
    return error_response(500, "internal", "Something went wrong on our side; the log has this request's id.", {})


def error_response(status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    """In the words of the protocol that was spoken."""
    if request.path.startswith(("/v1/", "/v2")) and status == 422:
        status, code = 400, "bad_request" if code == "unprocessable" else code  # which their clients know
    record().error = code
    body: Error | ProtocolError | TorchServeError
    if request.path.startswith(("/v1/", "/v2")):
        body = ProtocolError(message)
    elif request.path.startswith(("/predictions/", "/ping")):
        body = torchserve.error_of(message, status)
    else:
        body = Error(ErrorDetails(code, message, record().request_id))
    response = respond(body, status)
    response.headers.update(headers)
    return response
