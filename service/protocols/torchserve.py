"""TorchServe's inference API, whose users are left without a server: https://docs.pytorch.org/serve/inference_api.html."""

import numpy as np
from flask import Blueprint, Response, jsonify, request
from werkzeug.http import HTTP_STATUS_CODES

from service.http.images import read_images, read_top_k
from service.inference.service import service

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


def error_body(message: str, status: int) -> dict[str, str | int]:
    return {"code": status, "type": TYPES.get(status, HTTP_STATUS_CODES.get(status, "Unknown")), "message": message}


@bp.get("/ping")
def ping() -> Response:
    """As long as the required models answer."""
    service().health.check_ready()
    return jsonify(status="Healthy")


@bp.route("/predictions/<name>", methods=["POST", "PUT"])
@bp.route("/predictions/<name>/<int:version>", methods=["POST", "PUT"])
def predictions(name: str, version: int | None = None) -> Response:
    """{label: probability} of the most probable classes, as its image classifier has it; a list for several images."""
    service().admit(name, version)
    top_k = read_top_k(request)
    chosen, probabilities = service().classify(name, version, read_images(request, service().config))
    names = chosen.route.class_names
    answers = [
        {names[i]: float(row[i]) for i in np.argsort(-row, kind="stable")[:top_k].tolist()} for row in probabilities
    ]
    return jsonify(answers[0] if len(answers) == 1 else answers)
