"""/openapi.json in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0): the routes, and what their views declare."""

import re
from functools import cache
from typing import Any

import msgspec
from flask import Flask

from models.version import VERSION
from service.protocols.operation import OPERATIONS, Content, Operation

Schema = dict[str, Any]

CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")  # of a rule of Flask's
REF = "#/components/schemas/{name}"
STRING: Schema = {"type": "string"}
BINARY: Schema = {"type": "string", "format": "binary"}
PATH: dict[str, Schema] = {  # parameters in paths
    "name": STRING,
    "version": {"type": "integer", "minimum": 0},
    "number": {"type": "integer", "minimum": 0, "description": "Of a test image, counted from 0."},
    "label": {"enum": ["live", "previous", "canary", "shadow"]},
    "digest": {**STRING, "description": "sha256 of an image's bytes, in hexadecimal."},
}
QUERY: dict[str, Schema] = {
    "top_k": {
        "description": "Number of classes to name, the most probable first; more than there are means all.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999, "default": 5},
    },
    "class": {
        "description": "Label of the class to explain; without it the most probable one.",
        "schema": STRING,
    },
    "limit": {"schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}},
    "label": {"description": "Label of the image in a raw body.", "schema": STRING},
    "settle": {
        "description": "1: this label holds, whatever was said of the image before.",
        "schema": {"enum": ["0", "1", "true", "false"]},
    },
}
HEADERS: dict[str, Schema] = {
    "Inference-Header-Content-Length": {
        "description": "Bytes of JSON before binary tensors; 0: the body is one encoded image.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
LIMITED = 429
ERRORS = {
    400: "There is no image, or it is damaged, or the body or a parameter is malformed or not known.",
    401: "The API key is missing or unknown.",
    403: "The API key does not allow this.",
    404: "There is no such model or version; GET /models lists them.",
    408: "The body did not arrive in time.",
    409: "The version is missing, broken or live already, the folder cannot be written, or feedback is not taken.",
    413: "Too many bytes, images or pixels.",
    415: "An image format that is not read, or a Content-Encoding.",
    422: "Well-formed, but not accepted; the message says what is.",
    LIMITED: "The API key has had the images that it may have a second, or a day; try again after Retry-After seconds.",
    500: "The model could not answer this image: `engine_crash` or `model_failed`.",
    503: "Not ready, stopping, or too many images waiting; try again after Retry-After seconds.",
    504: "No answer within the deadline.",
    507: "The budget of the feedback folder (SERVICE_FEEDBACK_BYTES) or the disk is used up; nothing was stored.",
}
TAGS = {  # by blueprint, in the order in which they are shown
    "striate": "Classify, describe, health",
    "explain": "Explain",
    "lineage": "Published versions",
    "feedback": "Feedback",
    "admin": "Administration",
    "tensorflow_serving": "TensorFlow Serving",
    "open_inference": "Open Inference Protocol",
    "torchserve": "TorchServe",
}
MEDIA: dict[str, Schema] = {  # that are no JSON
    "text/html": STRING,
    "text/plain": STRING,
    "text/markdown": STRING,
    "image/*": BINARY,
    "image/png": BINARY,
    "application/octet-stream": BINARY,
    "multipart/form-data": {"type": "object", "additionalProperties": BINARY},
}


@cache
def document(app: Flask) -> Schema:
    """The whole document; routes whose views declare nothing are left out."""
    declared = list(OPERATIONS.values())
    types = sorted({kind for said in declared for kind in types_of(said)}, key=str)
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, Schema] = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if view not in OPERATIONS:
            continue
        path = paths.setdefault(CONVERTER.sub(r"{\1}", rule.rule), {})
        summary = (view.__doc__ or "").strip().splitlines()[0].rstrip(".")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path[method.lower()] = {
                "summary": summary,
                "tags": [TAGS[rule.endpoint.partition(".")[0]]],
                **operation_schema(OPERATIONS[view], CONVERTER.findall(rule.rule), by_type),
            }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Striate", "version": VERSION, "description": "Image classification over HTTP."},
        "paths": dict(sorted(paths.items())),
        "tags": [{"name": name} for name in TAGS.values()],
        "security": [{}, {"bearer": []}, {"key": []}],
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "schemas": components,
        },
    }


def types_of(said: Operation) -> set[Content]:
    contents = {*said.body, *(content for contents in said.answers.values() for content in contents), said.error}
    return {content for content in contents if not isinstance(content, str)}


def operation_schema(said: Operation, path_names: list[str], by_type: dict[Content, Schema]) -> Schema:
    def content_of(contents: tuple[Content, ...]) -> Schema:
        found = {content: {"schema": MEDIA[content]} for content in contents if isinstance(content, str)}
        documents = [by_type[content] for content in contents if not isinstance(content, str)]
        if documents:
            found["application/json"] = {"schema": documents[0] if len(documents) == 1 else {"anyOf": documents}}
        return found

    parameters = [{"name": name, "in": "path", "required": True, "schema": PATH[name]} for name in path_names]
    parameters += [{"name": name, "in": "query", **QUERY[name]} for name in said.query]
    if said.header:
        parameters.append({"name": said.header, "in": "header", **HEADERS[said.header]})
    responses: Schema = {
        str(status): {"description": "Success.", **({"content": content_of(contents)} if contents else {})}
        for status, contents in said.answers.items()
    }
    limited = (LIMITED,) if said.body and 401 in said.errors else ()
    for status in sorted({*said.errors, *limited}):
        responses[str(status)] = {"description": ERRORS[status], "content": content_of((said.error,))}
    body = {"requestBody": {"required": is_required(said), "content": content_of(said.body)}} if said.body else {}
    return {"parameters": parameters, **body, "responses": responses}


def is_required(said: Operation) -> bool:
    """Whether an empty body, which counts as {}, is an error."""
    fields = [field for kind in said.body if not isinstance(kind, str) for field in msgspec.structs.fields(kind)]
    return any(field.required for field in fields)
