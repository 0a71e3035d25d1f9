"""What both ways of a request share when it is answered: Flask's (`service.worker.app`) and the short one (`lane`)."""

from service.http.json_body import encode
from service.protocols import torchserve
from service.protocols.operation import SECURITY_POLICY, Error, ErrorDetails, ProtocolError, TorchServeError
from service.telemetry.request_record import record

SECURITY_HEADERS = {
    "Content-Security-Policy": SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
UNFORESEEN = (500, "internal", "Something went wrong on our side; the log has this request's id.")


def error_body(status: int, code: str, message: str) -> tuple[int, bytes]:
    """Status and body of an error, in the words of the protocol that was spoken."""
    path = record().path
    if path.startswith(("/v1/", "/v2")) and status == 422:
        status, code = 400, "bad_request" if code == "unprocessable" else code  # which their clients know
    record().error = code
    body: Error | ProtocolError | TorchServeError
    if path.startswith(("/v1/", "/v2")):
        body = ProtocolError(message)
    elif path.startswith(("/predictions/", "/ping")):
        body = torchserve.error_of(message, status)
    else:
        body = Error(ErrorDetails(code, message, record().request_id))
    return status, encode(body)
