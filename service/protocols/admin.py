"""Which versions answer, set over HTTP with an admin's key; the commands of `python -m service` do the same."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from flask import Blueprint, Response, request
from msgspec import Meta

from models.bundle.manifest import BrokenBundle
from models.errors import Failed, UserError
from models.files.deadline import ChangeCancelled, PendingChange
from models.store.layout import MODEL_NAME
from models.store.live import LivePointer, LiveVersionChanged, roll_back, set_canary, set_live, set_loaded, set_shadow
from models.store.publish import set_default
from service.errors import Conflict, NotFound, NotReady, Unprocessable
from service.http.in_thread import in_thread_within
from service.http.json_body import read_document, respond
from service.inference.service import service
from service.protocols.operation import ProtocolError, answers

bp = Blueprint("admin", __name__)

T = TypeVar("T")
VersionNumber = Annotated[int, Meta(ge=1)]

LOCK_TIMEOUT_S = 10.0  # for whoever publishes at the same time
BUSY = "Somebody else is publishing this model, and nothing was changed. Try again later."
ERRORS = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
REPOSITORY_ERRORS = (400, 401, 403, 404, 409, 415, 503)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """An empty object, or no body at all."""


class Promotion(msgspec.Struct, forbid_unknown_fields=True):
    """The version that is to be live."""

    version: VersionNumber


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """The version that has to be live until then; without it, whichever is."""

    instead_of: VersionNumber | None = None


class Canary(msgspec.Struct, forbid_unknown_fields=True):
    """The canary and its share of the requests; null for no canary."""

    version: VersionNumber | None
    fraction: Annotated[float, Meta(gt=0, le=1)] = 0.1


class Shadow(msgspec.Struct, forbid_unknown_fields=True):
    """The version that is asked as well, and compared; null for none."""

    version: VersionNumber | None


class Parts(msgspec.Struct):
    """Which versions have a part now."""

    model: str
    live: int | None
    previous: int | None
    canary: int | None
    canary_fraction: float
    shadow: int | None
    unloaded: bool


class Default(msgspec.Struct):
    """The default model."""

    default: str


@bp.before_request
def authorise() -> None:
    service().authorise(request.headers, "admin")


@bp.post("/models/<name>/promote")
@answers(Parts, body=(Promotion,), errors=ERRORS)
def promote(name: str) -> Response:
    """Make a version live."""
    version = read_document(Promotion, service().config).version
    return changed(name, set_live, version)


@bp.post("/models/<name>/rollback")
@answers(Parts, body=(Rollback,), errors=ERRORS)
def rollback(name: str) -> Response:
    """Make the version live that was live before."""
    instead_of = read_document(Rollback, service().config).instead_of
    return changed(name, partial(roll_back, instead_of=instead_of))


@bp.post("/models/<name>/canary")
@answers(Parts, body=(Canary,), errors=ERRORS)
def canary(name: str) -> Response:
    """Have a version answer a fraction of the requests; null ends it."""
    asked = read_document(Canary, service().config)
    return changed(name, set_canary, asked.version, asked.fraction)


@bp.post("/models/<name>/shadow")
@answers(Parts, body=(Shadow,), errors=ERRORS)
def shadow(name: str) -> Response:
    """Ask a version too, and compare its answers; null ends it."""
    version = read_document(Shadow, service().config).version
    return changed(name, set_shadow, version)


@bp.post("/models/<name>/default")
@answers(Default, body=(Nothing,), errors=ERRORS)
def make_default(name: str) -> Response:
    """Have this model answer the requests that name none."""
    read_document(Nothing, service().config)
    if service().config.default_model:
        raise Conflict(f"SERVICE_DEFAULT_MODEL says which is the default model here: {service().config.default_model}.")
    return respond(Default(in_exports(name, set_default)))


@bp.post("/v2/repository/models/<name>/load")
@answers(errors=REPOSITORY_ERRORS, error=ProtocolError)
def load(name: str) -> Response:
    """Have an unloaded model answer again, once its engine has loaded."""
    in_exports(name, set_loaded, loaded=True)
    return Response(status=200)


@bp.post("/v2/repository/models/<name>/unload")
@answers(errors=REPOSITORY_ERRORS, error=ProtocolError)
def unload(name: str) -> Response:
    """End a model's engines."""
    in_exports(name, set_loaded, loaded=False)
    return Response(status=200)


def changed(name: str, how: Callable[..., LivePointer], *values: Any) -> Response:
    return respond(Parts(name, **asdict(in_exports(name, how, *values))))


def in_exports(name: str, how: Callable[..., T], *values: Any, **options: Any) -> T:
    """Change a pointer, in a thread since it waits for the disk; a change that was refused never happens.

    Args:
        how: a function of `models.store` that takes the exports, the name, these values and a `pending` change.
    """
    exports = service().config.folder

    def change(pending: PendingChange) -> T:
        if not MODEL_NAME.fullmatch(name) or not (exports / name).is_dir():
            raise NotFound("There is no model of this name; GET /models lists them.")
        return how(exports, name, *values, **options, pending=pending)

    try:
        return in_thread_within(service().writers, change, LOCK_TIMEOUT_S)
    except ChangeCancelled:
        raise Conflict(BUSY) from None
    except (BrokenBundle, LiveVersionChanged) as error:
        raise Conflict(without_paths(str(error))) from None
    except Failed as error:  # the store, of which the exports are a mirror
        message = f"{without_paths(str(error))}. Look at GET /models/{name} before you try again."
        raise NotReady(message, retry_after_s=5) from None
    except UserError as error:
        raise Unprocessable(str(error)) from None
    except OSError as error:
        message = f"The exports cannot be written here ({error.strerror}): use the command striate where they can."
        raise Conflict(message) from None


def without_paths(message: str) -> str:
    """The message without the folder of the exports, which clients need not know."""
    exports = str(service().config.folder)
    return message.replace(f"{exports}/", "").replace(exports, "exports")
