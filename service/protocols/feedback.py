"""Routes for feedback: users submit corrected labels, and label images that were kept.

Everything on the disk is `service.feedback.store`; it is called in a thread, for it waits for the disk.
"""

import hashlib
import io
import logging
import re
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from flask import Blueprint, Response, current_app, request
from msgspec import UNSET, UnsetType
from PIL import Image

from models.bundle.class_names import BadClassName, check_label
from models.bundle.preprocessing import BadImage, InputSpec, decode_image
from service.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    TooLarge,
    Unprocessable,
    from_bad_image,
)
from service.feedback.store import Kept, Outcome
from service.http.bodies import read_bytes
from service.http.images import hint_at_curl, read_form, whole_number
from service.http.json_body import respond
from service.inference.service import service
from service.inference.targets import Target
from service.parsing.feedback import FeedbackJson
from service.parsing.json_document import fit
from service.parsing.kinds import FEEDBACK as FEEDBACK_JSON
from service.protocols.operation import answers
from service.telemetry.metrics import FEEDBACK
from service.telemetry.request_record import REQUEST_ID

log = logging.getLogger(__name__)
bp = Blueprint("feedback", __name__)

DIGEST = re.compile(r"[0-9a-f]{64}")
THUMBNAIL = InputSpec(384, 384, 3, "pad")  # what a person is shown
MOST_LISTED = 500
ERRORS = (400, 401, 403, 404, 409, 503, 507)

Feedback = tuple[str, bytes, bool]  # label, encoded image, and `settle`: this label holds, whatever was said before


class Stored(msgspec.Struct):
    """What became of an image; `image` is the sha256 of its bytes."""

    model: str
    label: str
    outcome: Outcome
    image: str


class Contradiction(msgspec.Struct):
    """An image that was given several labels."""

    image: str
    labels: list[str]


class Collected(msgspec.Struct):
    """What has come in: images by label, contradictions, images that wait for a label, bytes."""

    model: str
    labelled: dict[str, int]
    contradictory: list[Contradiction]
    kept: int
    bytes: int
    max_bytes: int


class Guess(msgspec.Struct):
    """A class that the model has named."""

    label: str
    probability: float


class Unlabelled(msgspec.Struct):
    """An image to label: one with contradicting `labels`, or one that was kept, with what the model said of it."""

    image: str
    labels: list[str] | UnsetType = UNSET
    version: int | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    uncertainty: float | UnsetType = UNSET
    top: list[Guess] | UnsetType = UNSET


class ToLabel(msgspec.Struct):
    """Images to label: those that were given several labels, then the most uncertain."""

    model: str
    class_names: tuple[str, ...]
    images: list[Unlabelled]


@bp.before_request
def authorise() -> None:
    """
    Raises:
        Unauthorized, Forbidden: the key is missing or another, or a page of somebody else's asks.
    """
    if request.path == "/label":
        return
    service().authorise(request.headers, "feedback")
    origin = request.headers.get("Origin")
    if origin and origin.partition("://")[2] != request.host and origin not in current_app.extensions["origins"]:
        raise Forbidden(
            "Pages of other origins cannot submit feedback. SERVICE_CORS_ORIGINS lists those that can. Behind a proxy, "
            "the service knows its own page only if the proxy passes on the header Host."
        )


@bp.post("/models/<name>/feedback")
@answers(
    Stored,
    statuses=(200, 201),
    body=(FeedbackJson, "image/*", "application/octet-stream", "multipart/form-data"),
    query=("label", "settle"),
    errors=(*ERRORS, 408, 413, 415, 422),
)
def give_feedback(name: str) -> Response:
    """Store an image under its right label: the image itself, or one that came in before."""
    find_model(name)
    label, image, settle = read_feedback(name)
    chosen = find_model(name)  # another version may have become live while the body came
    check_known(chosen, label)
    try:
        service().decoders.check(image, chosen.spec)
    except BadImage as error:
        hint = hint_at_curl(request.mimetype, image) if "label" in request.args else ""
        raise from_bad_image(error, "", hint) from None
    store = service().disk.store(name)
    outcome: Outcome = service().disk.change(lambda pending: store.add(image, label, settle=settle, pending=pending))
    FEEDBACK.labels(name, outcome).inc()
    stored = Stored(name, label, outcome, hashlib.sha256(image).hexdigest())
    return respond(stored, 200 if outcome == "duplicate" else 201)


@bp.get("/models/<name>/feedback")
@answers(Collected, errors=ERRORS)
def show_feedback(name: str) -> Response:
    """What has come in so far."""
    find_model(name)
    return respond(fit({"model": name, **service().disk.read(service().disk.store(name).summary)}, Collected))


@bp.get("/models/<name>/kept")
@answers(ToLabel, query=("limit",), errors=ERRORS)
def list_kept(name: str) -> Response:
    """Images that wait for a label, the most uncertain first; before them those that were given two."""
    limit = whole_number("limit", request.args.get("limit", "50"), MOST_LISTED)
    chosen, store = find_model(name), service().disk.store(name)
    apart: dict[str, list[str]] = service().disk.read(store.contradictions)
    found: list[Kept] = service().disk.read(partial(store.kept, limit))
    images = [Unlabelled(digest, labels=labels) for digest, labels in apart.items()]
    for kept in found:
        top = [Guess(label, round(probability, 6)) for label, probability in kept.top]
        images.append(Unlabelled(kept.digest, UNSET, kept.version, kept.request_id, round(kept.uncertainty, 4), top))
    return respond(ToLabel(name, chosen.route.class_names, images[:limit]))


@bp.get("/models/<name>/kept/<digest>")
@answers("image/png", errors=(*ERRORS, 413, 415, 422))
def show_kept(name: str, digest: str) -> Response:
    """An image as a 384x384 PNG; the service encodes it anew and never returns the original file."""
    png = service().disk.read(partial(draw, find_image(name, digest), service().config.max_pixels))
    return Response(png, mimetype="image/png", headers={"Cache-Control": "private, no-store"})


@bp.delete("/models/<name>/kept/<digest>")
@answers(statuses=(204,), errors=ERRORS)
def discard(name: str, digest: str) -> Response:
    """Delete a kept image."""
    find_model(name)
    store = service().disk.store(name) if DIGEST.fullmatch(digest) else None
    if store is None or not service().disk.change(lambda pending: store.discard(digest, pending=pending)):
        raise NotFound("No such image is kept; GET /models/<name>/kept lists them.")
    return Response(status=204)


@bp.get("/label")
@answers("text/html")
def label_page() -> Response:
    """The page for labelling."""
    return current_app.send_static_file("label.html")


def find_model(name: str) -> Target:
    """The live version, which feedback is for.

    Raises:
        NotFound, NotReady: as `Targets.find`.
        Conflict: an image has any number of labels there, and feedback is one label an image.
    """
    found = service().targets.find(name)
    if found.route.task == "multi_label":
        raise Conflict(
            f"Feedback is one label an image, and {name} gives an image any number of labels: it takes none."
        )
    return found


def read_feedback(name: str) -> Feedback:
    """A form, or JSON, or the encoded image itself with ?label=."""
    if request.mimetype == "multipart/form-data":
        form = read_form(request, service().config, service().parse)
        if len(form.files) > 1:
            raise Unprocessable(f"{len(form.files)} files came; send one image with its label.")
        settle = form.fields.get("settle", "") in ("1", "true")
        return checked(form.fields.get("label"), form.files[0].data if form.files else b"", settle)
    body = read_bytes(request, service().config)
    if request.mimetype == "application/json" or body.lstrip()[:1] == b"{":
        return read_feedback_json(name, body)
    return checked(request.args.get("label"), body, request.args.get("settle") in ("1", "true"))


def read_feedback_json(name: str, body: bytes) -> Feedback:
    said = service().parse(FEEDBACK_JSON, body)
    if said.image is not None:
        image = said.image
    elif said.request_id is not None:
        image = image_of_request(name, said.request_id, said.index)
    else:
        image = image_here(name, str(said.digest))
    return checked(said.label, image, said.settle)


def checked(label: Any, image: bytes, settle: bool) -> Feedback:
    if not isinstance(label, str):
        raise Unprocessable('Give the correct label: ?label=cat, a field of the form, or {"label": "cat", ...}.')
    if not image:
        raise BadRequest("There is no image in the request.")
    if len(image) > service().config.max_body_bytes:
        raise TooLarge(f"The image has more than {service().config.max_body_bytes:,} bytes.")
    try:
        return check_label(label), image, settle
    except BadClassName as error:
        raise Unprocessable(str(error)) from None


def image_of_request(name: str, request_id: str, index: int) -> bytes:
    if index < 0:
        raise Unprocessable("index has to be a whole number from 0: which image of that request.")
    recent = service().collector.recent
    image = recent.find(request_id, name, index) if recent and REQUEST_ID.fullmatch(request_id) else None
    if image is None:
        raise NotFound(
            "The image of this request is not remembered: only the latest are (SERVICE_RECENT_BYTES), and only "
            "encoded ones. Send the image itself."
        )
    return image


def image_here(name: str, digest: str) -> bytes:
    path = find_image(name, digest)
    try:
        return service().disk.read(path.read_bytes)
    except Conflict:
        raise NotFound("Somebody has labelled this image just now.") from None


def find_image(name: str, digest: str) -> Path:
    """An image that has come in before: that is kept, has a label, or two."""
    find_model(name)
    if DIGEST.fullmatch(digest):
        store = service().disk.store(name)
        path = service().disk.read(partial(store.find, digest))
        if path is not None:
            return path
    raise NotFound("No image of this digest is here; GET /models/<name>/kept lists those that wait for a label.")


def check_known(chosen: Target, label: str) -> None:
    names = chosen.route.class_names
    if label not in names and not service().config.feedback_new_labels:
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise Unprocessable(
            f"{chosen.name} has no class {label[:100]!r}; it has {shown}. SERVICE_FEEDBACK_NEW_LABELS=1 takes others."
        )


def draw(path: Path, max_pixels: int) -> bytes:
    """PNG of 384x384."""
    pixels: np.ndarray = decode_image(path.read_bytes(), THUMBNAIL, max_pixels=max_pixels)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", compress_level=1)
    return png.getvalue()
