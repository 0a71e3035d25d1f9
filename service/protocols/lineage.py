"""Where each version comes from, and how good it is: what `striate explain` prints, over HTTP."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from flask import Blueprint, Response, current_app, request
from PIL import Image

from models.bundle.manifest import CARD, GOLDEN, REPORT, BrokenBundle, list_golden
from models.bundle.preprocessing import FORMATS
from models.files.deadline import ChangeCancelled
from models.store.decisions import Finding, read_decisions
from models.store.history import about_version
from models.store.layout import MODEL_NAME, list_versions
from service.config import Config
from service.errors import NotFound, NotReady
from service.http.in_thread import in_thread_within
from service.http.json_body import respond
from service.inference.service import service
from service.protocols.operation import answers

bp = Blueprint("lineage", __name__)

T = TypeVar("T")
TIMEOUT_S = 10.0
MOST_JOBS = 20
AWAY = "The exports cannot be read just now. Try again later."
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"  # it is a file of the bundle's


class Job(msgspec.Struct):
    """What a retraining job decided that published no version; `findings` is what each rule came to."""

    at: str
    outcome: str
    reason: str
    champion: int | None
    findings: list[Finding]


class Versions(msgspec.Struct):
    """Every published version, the newest first; and of the retraining jobs that published none the latest.

    `administration` says whether this request's key allows to change the parts of versions: "allowed"; "key", if
    another key would; "off", if the service has no keys for that.
    """

    model: str
    versions: list[dict[str, Any]]
    jobs: list[Job]
    administration: Literal["allowed", "key", "off"]


class Examples(msgspec.Struct):
    """`examples` counts the test images of the version that anybody who may ask can see."""

    examples: int


@bp.get("/models/<name>/versions")
@answers(Versions, "text/html", errors=(400, 401, 404, 503))
def list_lineage(name: str) -> Response:
    """Every published version: data, code, settings, metrics, decision and parent; a page for browsers."""
    if wants_page():
        return current_app.send_static_file("versions.html")
    exports = service().config.folder
    versions, jobs = in_time(lambda: (describe(home_of(exports, name)), jobs_without_version(exports / name)))
    return respond(Versions(name, versions, jobs, service().keys.standing(request.headers, "admin")))


@bp.get("/models/<name>/versions/<int:version>/examples")
@answers(Examples, errors=(400, 401, 404, 503))
def list_examples(name: str, version: int) -> Response:
    """How many of its test images a version shows."""
    config = service().config
    return respond(Examples(len(in_time(lambda: golden_of(config, name, version)))))


@bp.get("/models/<name>/versions/<int:version>/examples/<int:number>")
@answers("image/*", errors=(400, 401, 404, 503))
def show_example(name: str, version: int, number: int) -> Response:
    """One of the test images of a version, counted from 0."""
    config = service().config
    data = in_time(lambda: read_example(golden_of(config, name, version), number))
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return Response(data, mimetype=image.get_format_mimetype())


def golden_of(config: Config, name: str, version: int) -> list[Path]:
    """The version's golden images; none where the operator keeps them back."""
    bundle = home_of(config.folder, name) / str(version)
    if not bundle.is_dir():
        raise NotFound("There is no such version; GET /models/<name>/versions lists them.")
    try:
        return [bundle / GOLDEN / row.file for row in list_golden(bundle)] if config.examples else []
    except BrokenBundle:
        return []


def read_example(files: list[Path], number: int) -> bytes:
    if number >= len(files):
        raise NotFound(f"This version shows {len(files)} images, counted from 0.")
    return files[number].read_bytes()


@bp.get("/models/<name>/versions/<int:version>/report")
@answers("text/html", errors=(400, 401, 404, 503))
def show_report(name: str, version: int) -> Response:
    """The report of a version, as a page."""
    exports = service().config.folder
    report = in_time(lambda: read_part(home_of(exports, name) / str(version), REPORT))
    return Response(report, mimetype="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


@bp.get("/models/<name>/versions/<int:version>/card")
@answers("text/markdown", errors=(400, 401, 404, 503))
def show_card(name: str, version: int) -> Response:
    """The model card of a version, in Markdown."""
    exports = service().config.folder
    card = in_time(lambda: read_part(home_of(exports, name) / str(version), CARD))
    return Response(card, mimetype="text/markdown")


def wants_page() -> bool:
    """Whether the client is a browser. It gets the page, which needs no API key and asks the user for one."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def in_time(action: Callable[[], T]) -> T:
    """Call a function that reads the exports, in a thread.

    Raises:
        NotReady: the disk cannot be read, or took too long.
    """
    try:
        return in_thread_within(service().readers, lambda _: action(), TIMEOUT_S)
    except (ChangeCancelled, OSError):
        raise NotReady(AWAY) from None


def home_of(exports: Path, name: str) -> Path:
    home = exports / name
    if not MODEL_NAME.fullmatch(name) or not home.is_dir():
        raise NotFound("There is no model of this name; GET /models lists them.")
    return home


def read_part(bundle: Path, part: Path) -> bytes:
    try:
        return (bundle / part).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        message = f"There is no such version, or it has no {part.name}; GET /models/<name>/versions lists them."
        raise NotFound(message) from None


def jobs_without_version(home: Path) -> list[Job]:
    """The latest, the newest first."""
    found = [each for each in reversed(read_decisions(home)) if each.get("version") is None][:MOST_JOBS]
    return [Job(each["at"], each["outcome"], each["reason"], each["champion"], each["findings"]) for each in found]


def describe(home: Path) -> list[dict[str, Any]]:
    """Every version, the newest first; of a broken one, what is wrong with it."""
    found = []
    for version in reversed(list_versions(home)):
        try:
            found.append(about_version(home, version))
        except BrokenBundle as error:
            found.append({"model": home.name, "version": version, "broken": str(error).replace(f"{home}/", "")})
    return found
