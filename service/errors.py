"""Everything that can go wrong for a client: a status, a code for programs, a sentence for people."""

from models.bundle.preprocessing import BadImage


class ServiceError(Exception):
    """Answered with its status, its code and its message, in the words of the protocol that was spoken."""

    status = 500
    code = "internal"
    retry_after_s: int | None = None

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class BadRequest(ServiceError):
    status = 400
    code = "bad_request"


class Unauthorized(ServiceError):
    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    status = 403
    code = "forbidden"


class NotFound(ServiceError):
    status = 404
    code = "not_found"


class ReadTimeout(ServiceError):
    status = 408
    code = "read_timeout"


class Conflict(ServiceError):
    status = 409
    code = "conflict"


class TooLarge(ServiceError):
    status = 413
    code = "too_large"


class UnsupportedEncoding(ServiceError):
    status = 415
    code = "content_encoding_unsupported"


class Unprocessable(ServiceError):
    status = 422
    code = "unprocessable"


class EngineCrash(ServiceError):
    """An image of which several engines died: it is refused for a while instead of being tried once more."""

    status = 500
    code = "engine_crash"


class ModelFailed(ServiceError):
    status = 500
    code = "model_failed"


class Overloaded(ServiceError):
    status = 503
    code = "overloaded"
    retry_after_s = 1


class NotReady(ServiceError):
    status = 503
    code = "not_ready"
    retry_after_s = 1


class EngineGone(NotReady):
    """The version that was chosen has no engine any more; another version may have one."""


class ClientGone(ServiceError):
    """Whoever asked has closed the connection; nobody reads this answer (nginx's status)."""

    status = 499
    code = "client_gone"


class StorageFull(ServiceError):
    status = 507
    code = "storage_full"


class DeadlineExceeded(ServiceError):
    status = 504
    code = "deadline_exceeded"


IMAGE_STATUS = {
    "image_invalid": 400,
    "image_too_many_pixels": 413,
    "image_format_unsupported": 415,
    "image_mode_unsupported": 422,
}


def from_bad_image(error: BadImage, position: str, hint: str = "") -> ServiceError:
    """What was wrong, and with which image where the request has a way to say; a hint follows."""
    answer = ServiceError(f"{position}: {error}{hint}" if position else f"{error}{hint}", code=error.code)
    answer.status = IMAGE_STATUS[error.code]
    return answer
