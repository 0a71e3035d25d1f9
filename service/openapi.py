"""/openapi.json: every route of the service, in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def errors(*statuses: int) -> Schema:
    return {str(status): answer(ERRORS[status], ref("Error")) for status in statuses}


ERRORS = {
    400: "There is no image, or it is damaged, or the body or a parameter is malformed.",
    404: "There is no such model or version; the message lists those there are.",
    408: "The body did not arrive in time.",
    413: "Too many bytes, images or pixels.",
    415: "An image format that is not read, or a Content-Encoding.",
    422: "Well-formed, but not what is taken: the message says what is.",
    500: "The model could not answer this image: `engine_crash` or `model_failed`.",
    503: "Not ready, stopping, or too many images waiting; try again after Retry-After seconds.",
    504: "No answer within the deadline.",
}
CLASSIFY_ERRORS = errors(400, 404, 408, 413, 415, 422, 500, 503, 504)

NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
TOP_K = {
    "name": "top_k",
    "in": "query",
    "description": "How many classes to name, the most probable first; more than there are means all.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999999, "default": 5},
}
IMAGE_BODY = {"schema": {"type": "string", "format": "binary"}}
BODY: Schema = {
    "required": True,
    "description": "An encoded image (JPEG, PNG, WebP, GIF, BMP, TIFF), one or more files, or base64 in JSON.",
    "content": {
        "image/*": IMAGE_BODY,
        "application/octet-stream": IMAGE_BODY,
        "multipart/form-data": {
            "schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "additionalProperties": False,
                "properties": {
                    "images": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "contentEncoding": "base64"},
                    }
                },
            }
        },
    },
}


def classify(summary: str, *parameters: Schema) -> Schema:
    return {
        "post": {
            "summary": summary,
            "parameters": [*parameters, TOP_K],
            "requestBody": BODY,
            "responses": {
                "200": answer("One prediction an image, in order.", ref("Classification")),
                **CLASSIFY_ERRORS,
            },
        }
    }


def get(summary: str, response: Schema, *parameters: Schema, failures: Schema | None = None) -> Schema:
    return {
        "get": {"summary": summary, "parameters": list(parameters), "responses": {"200": response, **(failures or {})}}
    }


def text(description: str, mimetype: str) -> Schema:
    return {"description": description, "content": {mimetype: {"schema": {"type": "string"}}}}


def record(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


STRING, INTEGER = {"type": "string"}, {"type": "integer"}
PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
STATUS = {"type": "object", "properties": {"status": STRING}}

DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "Striate", "version": "0.1.0", "description": "Image classification over HTTP."},
    "paths": {
        "/classify": classify("Classify with the default model"),
        "/models/{name}/classify": classify("Classify with a model's live version", NAME),
        "/models/{name}/versions/{version}/classify": classify("Classify with one version", NAME, VERSION),
        "/models": get("All models", answer("The models.", ref("Models"))),
        "/models/{name}": get("One model", answer("The model.", ref("Model")), NAME, failures=errors(404)),
        "/healthz": get("Is this process alive?", answer("It is.", STATUS)),
        "/readyz": get(
            "Does the default model answer? An image goes through its engine.",
            answer("It does.", STATUS),
            failures=errors(404, 500, 503, 504),
        ),
        "/metrics": get("Prometheus metrics", text("Text format 0.0.4.", "text/plain")),
        "/openapi.json": get("This document", answer("OpenAPI 3.1.", {"type": "object"})),
        "/": get("The page", text("HTML.", "text/html")),
    },
    "components": {
        "schemas": {
            "Classification": record(
                model=STRING, version=INTEGER, predictions={"type": "array", "items": ref("Prediction")}
            ),
            "Prediction": {
                **record(label=STRING, probability=PROBABILITY, top={"type": "array", "items": ref("Class")}),
                "description": "`file` is the name that a form gave the image.",
            },
            "Class": record(label=STRING, index=INTEGER, probability=PROBABILITY),
            "Models": record(default={"type": ["string", "null"]}, models={"type": "array", "items": ref("Model")}),
            "Model": record(
                name=STRING, live={"type": ["integer", "null"]}, versions={"type": "array", "items": ref("Version")}
            ),
            "Version": record(
                version=INTEGER,
                state={"enum": ["loading", "available", "restarting", "rejected"]},
                live={"type": "boolean"},
                reason={"type": ["string", "null"]},
                restarts=INTEGER,
                class_names={"type": "array", "items": STRING},
                input={"type": ["object", "null"]},
            ),
            "Error": record(error=record(code=STRING, message=STRING, request_id=STRING)),
        }
    },
}
