"""Everything that can go wrong for a client: a status, a code for programs, a sentence for people."""

from models.bundle.preprocessing import BadImage


class ServiceError(Exception):
    """Answered with its status, its code and its message, in the format of the protocol of the request."""

    status = 500
    code = "internal"
    retry_after_s: int | None = None

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code = status or self.status, code or self.code
        self.retry_after_s = retry_after_s or self.retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        bearer = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return bearer if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


def kind(name: str, status: int, code: str, retry_after_s: int | None = None) -> type[ServiceError]:
    return type(name, (ServiceError,), {"status": status, "code": code, "retry_after_s": retry_after_s})


BadRequest = kind("BadRequest", 400, "bad_request")
Unauthorized = kind("Unauthorized", 401, "unauthorized")
Forbidden = kind("Forbidden", 403, "forbidden")
NotFound = kind("NotFound", 404, "not_found")
ReadTimeout = kind("ReadTimeout", 408, "read_timeout")
Conflict = kind("Conflict", 409, "conflict")
TooLarge = kind("TooLarge", 413, "too_large")
UnsupportedEncoding = kind("UnsupportedEncoding", 415, "content_encoding_unsupported")
Unprocessable = kind("Unprocessable", 422, "unprocessable")
TooManyRequests = kind("TooManyRequests", 429, "too_many_requests", retry_after_s=1)
ClientGone = kind("ClientGone", 499, "client_gone")  # the client closed the connection (nginx's status)
EngineCrash = kind("EngineCrash", 500, "engine_crash")  # several engines died while they computed the image
ModelFailed = kind("ModelFailed", 500, "model_failed")
Overloaded = kind("Overloaded", 503, "overloaded", retry_after_s=1)
NotReady = kind("NotReady", 503, "not_ready", retry_after_s=1)
EngineGone = kind("EngineGone", 503, "not_ready", retry_after_s=1)  # another version may have an engine
DeadlineExceeded = kind("DeadlineExceeded", 504, "deadline_exceeded")
StorageFull = kind("StorageFull", 507, "storage_full")

IMAGE_STATUS = {
    "image_invalid": 400,
    "image_too_many_pixels": 413,
    "image_format_unsupported": 415,
    "image_mode_unsupported": 422,
    "image_too_costly": 422,
}


def from_bad_image(error: BadImage, position: str, hint: str = "") -> ServiceError:
    """What was wrong, and with which image if the request has several; a hint follows."""
    message = f"{position}: {error}{hint}" if position else f"{error}{hint}"
    return ServiceError(message, status=IMAGE_STATUS[error.code], code=error.code)
