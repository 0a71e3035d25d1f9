"""Why a model says what it says of an image: where the network looked, as numbers or as a picture."""

from pathlib import Path

import msgspec
import numpy as np
from flask import Blueprint, Response, request

from models.bundle.manifest import BrokenBundle
from models.insight.explanation import Explanation, Method
from models.insight.layers import Drawn, Layer, read_layers
from models.insight.overlay import draw
from service.errors import BadRequest, NotFound
from service.http.disconnect import while_client_stays
from service.http.images import read_images
from service.http.json_body import respond
from service.inference.service import service
from service.inference.targets import Target
from service.protocols.lineage import home_of, in_time
from service.protocols.operation import CLASSIFY_ERRORS, IMAGE_BODY, answers
from service.protocols.striate import Probability
from service.telemetry.request_record import record

bp = Blueprint("explain", __name__)

MOST_LABELS = 20  # named in an error


class Explained(msgspec.Struct):
    """Where the network looked for one class.

    `map` are rows of numbers, the first at the image's top, as the network saw it; more than 0 where a place speaks for
    the class and less than 0 where it speaks against it. With `class_activation` a number is the place's part in the
    logarithm of the class's probability; with `random_masks` how much more probable the class is where the place is
    seen. `passes` are the images that the network computed for it, `probability` is in float32.
    """

    model: str
    version: int
    label: str
    index: int
    probability: Probability
    method: Method
    passes: int
    map: list[list[float]]


class SimilarImage(msgspec.Struct):
    """A training image: `similarity` is the cosine between both images' features, `jpeg` a small copy in base64."""

    label: str
    index: int
    similarity: float
    jpeg: bytes


class SimilarImages(msgspec.Struct):
    """The most similar training images, the nearest first."""

    model: str
    version: int
    images: list[SimilarImage]


class StageMaps(msgspec.Struct):
    """The feature maps of each stage: `png` has the first `shown` of `maps` in rows of 12, in base64."""

    model: str
    version: int
    stages: list[Drawn]


class StageFilters(msgspec.Struct):
    """A stage: `filters` is a picture of the filters of its last convolution, a PNG in base64; null where none is."""

    name: str
    height: int
    width: int
    maps: int
    filters: bytes | None


class Table(msgspec.Struct):
    """The layers of a network, as `striate describe` lists them, and its stages: the last layer at each size."""

    model: str
    version: int
    layers: list[Layer]
    stages: list[StageFilters]


@bp.post("/models/<name>/explain")
@bp.post("/models/<name>/versions/<int:version>/explain")
@answers(Explained, "image/png", body=IMAGE_BODY, query=("class",), errors=CLASSIFY_ERRORS)
def explain(name: str, version: int | None = None) -> Response:
    """Where the network looked in one image; as a picture for a client that accepts image/png alone."""
    target, image = one_image(name, version)
    index, is_multi = index_of(request.args.get("class"), target), target.route.task == "multi_label"
    with while_client_stays():
        found = service().explainer.explain(bundle_of(target), image, index, target.deadline, is_multi=is_multi)
    if wants_picture():
        return Response(draw(image, found.values), mimetype="image/png")
    return respond(describe(found, target))


@bp.post("/models/<name>/similar")
@bp.post("/models/<name>/versions/<int:version>/similar")
@answers(SimilarImages, body=IMAGE_BODY, errors=CLASSIFY_ERRORS)
def similar(name: str, version: int | None = None) -> Response:
    """The training images that the network finds most similar, of those that the version shows."""
    target, image = one_image(name, version)
    with while_client_stays():
        found = service().explainer.similar(bundle_of(target), image, target.deadline)
    images = [
        SimilarImage(target.route.class_names[each.index], each.index, round(each.similarity, 4), each.jpeg)
        for each in found
    ]
    return respond(SimilarImages(target.name, target.version, images))


@bp.post("/models/<name>/layers")
@bp.post("/models/<name>/versions/<int:version>/layers")
@answers(StageMaps, body=IMAGE_BODY, errors=CLASSIFY_ERRORS)
def layers(name: str, version: int | None = None) -> Response:
    """What each stage of the network makes of one image: its feature maps, as pictures."""
    target, image = one_image(name, version)
    with while_client_stays():
        found = service().explainer.layers(bundle_of(target), image, target.deadline)
    return respond(StageMaps(target.name, target.version, found))


@bp.get("/models/<name>/versions/<int:version>/layers")
@answers(Table, errors=(400, 401, 404, 503))
def list_layers(name: str, version: int) -> Response:
    """The layers of the network, and the filters of its stages."""
    exports = service().config.folder
    try:
        found = in_time(lambda: read_layers(home_of(exports, name) / str(version)))
    except BrokenBundle:
        found = None
    if found is None:
        raise NotFound("There is no such version, or it has no table of its layers.")
    stages = [StageFilters(each.name, each.height, each.width, len(each.means), each.filters) for each in found.stages]
    return respond(Table(name, version, found.table, stages))


def one_image(name: str, version: int | None) -> tuple[Target, np.ndarray]:
    """The version that is meant, and the request's one image as it takes it."""
    service().targets.check(name, version)
    encoded = read_images(request, service().config, service().parse)
    if len(encoded) != 1:
        raise BadRequest(f"One image is explained at a time; the request has {len(encoded)}.")
    target = service().targets.find(name, version)
    (image,) = service().decoders.decode(target, encoded)
    record().num_images, record().version = 1, target.version
    return target, image


def bundle_of(target: Target) -> Path:
    return service().config.folder / target.name / str(target.version)


def index_of(label: str | None, target: Target) -> int | None:
    """
    Raises:
        NotFound: the version has no such class; names those that it has.
    """
    names = target.route.class_names
    if label is None:
        return None
    if label not in names:
        more = f" and {len(names) - MOST_LABELS} more" if len(names) > MOST_LABELS else ""
        raise NotFound(f"There is no class {label[:50]!r}; there are {', '.join(names[:MOST_LABELS])}{more}.")
    return names.index(label)


def wants_picture() -> bool:
    best = request.accept_mimetypes.best_match(["application/json", "image/png"])
    return best == "image/png"


def describe(found: Explanation, target: Target) -> Explained:
    return Explained(
        model=target.name,
        version=target.version,
        label=target.route.class_names[found.index],
        index=found.index,
        probability=round(min(1.0, max(0.0, found.probability)), 6),
        method=found.method,
        passes=found.passes,
        map=np.round(found.values.astype(float), 5).tolist(),
    )
