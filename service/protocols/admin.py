"""Which versions answer, said over HTTP with an admin's key; the commands of `python -m service` do the same."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from flask import Blueprint, Response, jsonify, request

from models.bundle.manifest import BrokenBundle
from models.errors import UserError
from models.files.deadline import GivenUp, Turn
from models.store import publish as published
from models.store.layout import MODEL_NAME
from models.store.live import LivePointer, roll_back, set_canary, set_live, set_loaded, set_shadow
from service.errors import Conflict, NotFound, Unprocessable
from service.http.images import parse_json, read_bytes
from service.http.in_thread import in_turn
from service.inference.service import service

bp = Blueprint("control", __name__)

T = TypeVar("T")

LOCK_TIMEOUT_S = 10.0  # for whoever publishes at the same time
BUSY = "Somebody else is publishing this model, and nothing was changed. Try again later."


@bp.before_request
def authorise() -> None:
    service().keys.check(request.headers, "admin")


@bp.post("/models/<name>/promote")
def promote(name: str) -> Response:
    """{"version": N}: that version answers from now on."""
    version = read_version(read_options("version"))
    return changed(name, lambda exports, turn: set_live(exports, name, version, turn=turn))


@bp.post("/models/<name>/rollback")
def rollback(name: str) -> Response:
    """The version answers that did before."""
    read_options()
    return changed(name, lambda exports, turn: roll_back(exports, name, turn=turn))


@bp.post("/models/<name>/canary")
def canary(name: str) -> Response:
    """{"version": N, "fraction": 0.1}: that version answers a part of the requests; {"version": null} ends it."""
    options = read_options("version", "fraction")
    version = read_version(options, or_none=True)
    fraction = options.get("fraction", 0.1)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise Unprocessable("fraction has to be a number above 0 and up to 1.")
    return changed(name, lambda exports, turn: set_canary(exports, name, version, fraction, turn=turn))


@bp.post("/models/<name>/shadow")
def shadow(name: str) -> Response:
    """{"version": N}: that version is asked too, and compared; {"version": null} ends it."""
    version = read_version(read_options("version"), or_none=True)
    return changed(name, lambda exports, turn: set_shadow(exports, name, version, turn=turn))


@bp.post("/models/<name>/default")
def make_default(name: str) -> Response:
    """Requests that name no model are answered by this one."""
    read_options()
    if service().config.default_model:
        raise Conflict(f"SERVICE_DEFAULT_MODEL says which is the default model here: {service().config.default_model}.")
    return jsonify(default=in_exports(name, lambda exports, turn: published.set_default(exports, name, turn=turn)))


@bp.post("/v2/repository/models/<name>/load")
def load(name: str) -> Response:
    """A model that was unloaded answers again, once its engine has loaded."""
    in_exports(name, lambda exports, turn: set_loaded(exports, name, loaded=True, turn=turn))
    return Response(status=200)


@bp.post("/v2/repository/models/<name>/unload")
def unload(name: str) -> Response:
    """A model's engines end."""
    in_exports(name, lambda exports, turn: set_loaded(exports, name, loaded=False, turn=turn))
    return Response(status=200)


def changed(name: str, how: Callable[[Path, Turn], LivePointer]) -> Response:
    return jsonify(model=name, **asdict(in_exports(name, how)))


def in_exports(name: str, how: Callable[[Path, Turn], T]) -> T:
    """Replace a pointer, in a thread since it waits for the disk; a change that was refused never happens.

    Raises:
        NotFound: there is no such model.
        Conflict: the version is missing or broken, or the exports cannot be written now or ever.
        Unprocessable: what was asked makes no sense.
    """
    exports = service().config.exports

    def change(turn: Turn) -> T:
        if not MODEL_NAME.fullmatch(name) or not (exports / name).is_dir():
            raise NotFound("There is no model of this name; GET /models lists them.")
        return how(exports, turn)

    try:
        return in_turn(service().writers, change, LOCK_TIMEOUT_S)
    except GivenUp:
        raise Conflict(BUSY) from None
    except BrokenBundle as error:
        raise Conflict(without_paths(str(error))) from None
    except UserError as error:
        raise Unprocessable(str(error)) from None
    except OSError as error:
        message = f"The exports cannot be written here ({error.strerror}): use python -m service where they can."
        raise Conflict(message) from None


def without_paths(message: str) -> str:
    """Where things lie on our disk is nobody's business."""
    exports = str(service().config.exports)
    return message.replace(f"{exports}/", "").replace(exports, "exports")


def read_options(*known: str) -> dict[str, Any]:
    """The body's JSON object.

    Raises:
        Unprocessable: it is none, or has a key that is not known.
    """
    body = read_bytes(request, service().config)
    options = parse_json(body) if body.strip() else {}
    if not isinstance(options, dict) or set(options) - set(known):
        raise Unprocessable(f"The body has to be a JSON object of {', '.join(known) or 'nothing'}.")
    return options


def read_version(options: dict[str, Any], *, or_none: bool = False) -> Any:
    """
    Raises:
        Unprocessable: it is missing, or no version.
    """
    version = options.get("version")
    if "version" not in options or (version is None and not or_none):
        raise Unprocessable('Say which: {"version": 3}' + (', or {"version": null} for none.' if or_none else "."))
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        raise Unprocessable("version has to be a whole number from 1.")
    return version
