"""TorchServe's inference API, for clients of that server, which is no longer maintained:
https://docs.pytorch.org/serve/inference_api.html.
"""

from flask import Blueprint, Response, request
from werkzeug.http import HTTP_STATUS_CODES

from models.bundle.reference import most_probable
from service.http.images import read_images, read_top_k
from service.http.json_body import respond
from service.inference.service import service
from service.protocols.operation import CLASSIFY_ERRORS, IMAGE_BODY, TorchServeError, answers
from service.protocols.striate import Health

bp = Blueprint("torchserve", __name__)

UNAVAILABLE = "ServiceUnavailableException"
TYPES = {
    400: "BadRequestException",
    404: "ModelNotFoundException",
    405: "MethodNotAllowedException",
    413: "RequestEntityTooLargeException",
    500: "InternalServerException",
    503: UNAVAILABLE,
}


def error_of(message: str, status: int) -> TorchServeError:
    return TorchServeError(status, TYPES.get(status, HTTP_STATUS_CODES.get(status, "Unknown")), message)


@bp.get("/ping")
@answers(Health, errors=CLASSIFY_ERRORS, error=TorchServeError)
def ping() -> Response:
    """TorchServe: do the required models answer?"""
    service().health.check_ready()
    return respond(Health("Healthy"))


@bp.route("/predictions/<name>", methods=["POST", "PUT"])
@bp.route("/predictions/<name>/<int:version>", methods=["POST", "PUT"])
@answers(
    dict[str, float] | list[dict[str, float]],
    body=IMAGE_BODY,
    query=("top_k",),
    errors=CLASSIFY_ERRORS,
    error=TorchServeError,
)
def predictions(name: str, version: int | None = None) -> Response:
    """TorchServe: {label: probability} of the most probable classes; a list for several images."""
    service().admit(name, version)
    top_k = read_top_k(request.args.get("top_k"))
    images = read_images(request, service().config, service().parse)
    chosen, probabilities = service().classify(name, version, images)
    names = chosen.route.class_names
    found = [{names[i]: float(row[i]) for i in most_probable(row, top_k)} for row in probabilities]
    return respond(found[0] if len(found) == 1 else found)
