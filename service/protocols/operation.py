"""What a view declares of itself, once: its query parameters, its body, its answers and its errors.

Requests are checked by it, and /openapi.json is made from it. A content is either a type that msgspec reads and writes
as JSON, or a media type as text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from service.errors import BadRequest
from service.parsing.images import Images

SECURITY_POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'"  # of pages

View = TypeVar("View", bound=Callable[..., Any])
Content = Any
Query = Literal["top_k", "class", "limit", "label", "settle"]


class ErrorDetails(msgspec.Struct):
    """`code` is for programs, `message` for people; the log has the request's id."""

    code: str
    message: str
    request_id: str


class Error(msgspec.Struct):
    """An error in Striate's own protocol."""

    error: ErrorDetails


class ProtocolError(msgspec.Struct):
    """An error in TensorFlow Serving's and the Open Inference Protocol."""

    error: str


class TorchServeError(msgspec.Struct):
    """An error as TorchServe answers it."""

    code: int
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Operation:
    answers: dict[int, tuple[Content, ...]]  # what the view answers, by status; no contents where there is no body
    query: tuple[Query, ...] = ()  # the query parameters that it reads; any other is refused
    body: tuple[Content, ...] = ()  # what it takes; nothing where it reads no body
    header: str | None = None  # a request header that it reads
    errors: tuple[int, ...] = ()  # statuses of its errors
    error: type[msgspec.Struct] = Error  # the type of their bodies

    def check_query(self, given: list[str]) -> None:
        """A misspelt parameter, such as `?topk=3`, would otherwise have no effect and nobody would notice.

        Raises:
            BadRequest: a parameter is not known; lists those that are.
        """
        unknown = next((name for name in given if name not in self.query), None)
        if unknown is not None:
            known = f"this route knows {', '.join(sorted(self.query))}" if self.query else "this route knows none"
            raise BadRequest(f"There is no query parameter {unknown[:50]!r}: {known}.")


IMAGE_BODY: tuple[Content, ...] = (Images, "image/*", "application/octet-stream", "multipart/form-data")
CLASSIFY_ERRORS = (400, 401, 404, 408, 413, 415, 422, 500, 503, 504)
OPERATIONS: dict[Callable[..., Any], Operation] = {}


def answers(*contents: Content, statuses: tuple[int, ...] = (200,), **said: Any) -> Callable[[View], View]:
    """Declare a view's operation; the first line of its docstring is the summary.

    Args:
        contents: what it answers with these statuses.
        said: the other attributes of `Operation`.
    """

    def declare(view: View) -> View:
        OPERATIONS[view] = Operation(dict.fromkeys(statuses, contents), **said)
        return view

    return declare
