"""Where each version comes from, and how good it is: what `python -m training explain` prints, over HTTP."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, jsonify, request

from models.bundle.manifest import BrokenBundle
from models.files.deadline import GivenUp
from models.store.history import about_version
from models.store.layout import MODEL_NAME, list_versions
from service.errors import NotFound, NotReady
from service.http.in_thread import in_turn
from service.inference.service import service

bp = Blueprint("lineage", __name__)

T = TypeVar("T")
TIMEOUT_S = 10.0
AWAY = "The exports cannot be read just now. Try again later."
REPORT = Path("assets.extra/report.html")
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"  # it is a file of the bundle's


@bp.get("/models/<name>/versions")
def list_lineage(name: str) -> Response:
    """Every published version, the newest first; browsers get the page that shows it."""
    if wants_page():
        return current_app.send_static_file("versions.html")
    home = home_of(name)
    versions = in_time(partial(describe, home))
    if versions is None:
        raise NotReady(AWAY)
    return jsonify(model=name, versions=versions)


@bp.get("/models/<name>/versions/<int:version>/report")
def show_report(name: str, version: int) -> Response:
    report = in_time(partial(read, home_of(name) / str(version) / REPORT))
    if report is None:
        raise NotFound("There is no such version, or it has no report; GET /models/<name>/versions lists them.")
    return Response(report, mimetype="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def wants_page() -> bool:
    """Whether a browser asks, which is to get the page: that needs no key, and asks for one."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def in_time(action: Callable[[], T]) -> T:
    """In a thread.

    Raises:
        NotReady: the disk took too long.
    """
    try:
        return in_turn(service().readers, lambda _: action(), TIMEOUT_S)
    except GivenUp:
        raise NotReady(AWAY) from None


def home_of(name: str) -> Path:
    home = Path(service().config.exports) / name
    if not MODEL_NAME.fullmatch(name) or not home.is_dir():
        raise NotFound("There is no model of this name; GET /models lists them.")
    return home


def describe(home: Path) -> list[dict[str, Any]] | None:
    """Runs in a thread, from which exceptions would be printed. None: the exports cannot be read."""
    found = []
    try:
        for version in reversed(list_versions(home)):
            try:
                found.append(about_version(home, version))
            except BrokenBundle as error:
                found.append({"model": home.name, "version": version, "broken": str(error).replace(f"{home}/", "")})
    except OSError:
        return None
    return found


def read(path: Path) -> bytes | None:
    """Runs in a thread."""
    try:
        return path.read_bytes()
    except OSError:
        return None
