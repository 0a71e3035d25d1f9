"""/openapi.json: every route of the service, in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from service.protocols.peer_routes import OPEN_INFERENCE, TENSORFLOW_SERVING, TORCHSERVE
from service.protocols.schemas import (
    CONTROL_ERRORS,
    IMAGE_BODY,
    INTEGER,
    NAME,
    NUMBER,
    PROBABILITY,
    STATUS,
    STRING,
    Schema,
    answer,
    classify,
    control,
    errors,
    get,
    post_json,
    record,
    ref,
    text,
)

VERSION = "0.1.0"


WHICH: Schema = {"type": ["integer", "null"], "minimum": 1}
CONTROL: Schema = {
    "/models/{name}/promote": control("Make a version live", version={"type": "integer", "minimum": 1}),
    "/models/{name}/rollback": control("Make the version live that was before"),
    "/models/{name}/canary": control(
        "Have a version answer a fraction of the requests; null ends it",
        version=WHICH,
        fraction={"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.1},
    ),
    "/models/{name}/shadow": control("Ask a version too, and compare; null ends it", version=WHICH),
    "/models/{name}/default": post_json(
        "Have this model answer the requests that name none",
        {"type": "object", "additionalProperties": False},
        answer("The default model.", record(default=STRING)),
        NAME,
        failures=CONTROL_ERRORS,
    ),
}


DIGEST = {
    "name": "digest",
    "in": "path",
    "required": True,
    "description": "sha256 of an image's bytes, in hexadecimal.",
    "schema": {"type": "string"},
}
LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}}
TEXT_LABEL = {"name": "label", "in": "query", "description": "Of a raw body's image.", "schema": STRING}
SETTLE = {
    "name": "settle",
    "in": "query",
    "description": "1: this label holds, whatever was said of the image before.",
    "schema": {"enum": ["0", "1", "true", "false"]},
}
FEEDBACK_ERRORS = errors(400, 401, 403, 404, 408, 409, 413, 415, 422, 503, 507)
KEPT_ERRORS = errors(400, 401, 403, 404, 409, 503, 507)
FEEDBACK_JSON: Schema = {
    "type": "object",
    "required": ["label"],
    "additionalProperties": False,
    "properties": {
        "label": STRING,
        "image": {"type": "string", "contentEncoding": "base64"},
        "request_id": STRING,
        "index": {"type": "integer", "minimum": 0, "default": 0},
        "digest": STRING,
        "settle": {"type": "boolean", "default": False},
    },
    "oneOf": [{"required": [source]} for source in ("image", "request_id", "digest")],
}
STORED = answer("What became of it.", ref("Stored"))
FEEDBACK: Schema = {
    "/models/{name}/feedback": {
        "post": {
            "summary": "Say what an image really shows",
            "description": "The image itself, a recent request's id, or the digest of an image that came in before.",
            "parameters": [NAME, TEXT_LABEL, SETTLE],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": FEEDBACK_JSON},
                    "image/*": IMAGE_BODY,
                    "application/octet-stream": IMAGE_BODY,
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["label", "image"],
                            "properties": {"label": STRING, "settle": STRING, "image": IMAGE_BODY["schema"]},
                        }
                    },
                },
            },
            "responses": {"200": STORED, "201": STORED, **FEEDBACK_ERRORS},
        },
        **get("What has come in so far", answer("Counts.", ref("Collected")), NAME, failures=KEPT_ERRORS),
    },
    "/models/{name}/kept": get(
        "Images that wait for a label: those that were given two, then the most uncertain",
        answer("The images.", record(model=STRING, class_names={"type": "array"}, images={"type": "array"})),
        NAME,
        LIMIT,
        failures=KEPT_ERRORS,
    ),
    "/models/{name}/kept/{digest}": {
        **get(
            "One of them, as PNG",
            {"description": "384x384 pixels.", "content": {"image/png": IMAGE_BODY}},
            NAME,
            DIGEST,
            failures={**KEPT_ERRORS, **errors(413, 415, 422)},
        ),
        "delete": {
            "summary": "Forget one of them",
            "parameters": [NAME, DIGEST],
            "responses": {"204": {"description": "It is gone."}, **KEPT_ERRORS},
        },
    },
    "/label": get("The page for labelling", text("HTML.", "text/html")),
}
LINEAGE: Schema = {
    "/models/{name}/versions": get(
        "Every published version: data, code, settings, figures, decision and parent; a page for browsers",
        {
            "description": "The newest first.",
            "content": {
                "application/json": {"schema": record(model=STRING, versions={"type": "array"})},
                "text/html": {"schema": STRING},
            },
        },
        NAME,
        failures=errors(400, 401, 404, 503),
    ),
    "/models/{name}/versions/{version}/report": get(
        "How good a version is, as a page",
        text("HTML.", "text/html"),
        NAME,
        NUMBER,
        failures=errors(400, 401, 404, 503),
    ),
}


DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "Striate", "version": VERSION, "description": "Image classification over HTTP."},
    "paths": {
        "/classify": classify("Classify with the default model"),
        "/models/{name}/classify": classify("Classify with a model's live version", NAME),
        "/models/{name}/versions/{version}/classify": classify("Classify with one version", NAME, NUMBER),
        "/models": get("All models", answer("The models.", ref("Models")), failures=errors(400, 401)),
        "/models/{name}": get("One model", answer("The model.", ref("Model")), NAME, failures=errors(400, 401, 404)),
        "/healthz": get("Is this process alive?", answer("It is.", STATUS)),
        "/readyz": get(
            "Do the required models answer (SERVICE_REQUIRED_MODELS; else the default model, else any model)? An image "
            "goes through their engines.",
            answer("It does.", STATUS),
            failures=errors(404, 500, 503, 504),
        ),
        "/metrics": get("Prometheus metrics", text("Text format 0.0.4.", "text/plain"), failures=errors(401)),
        "/openapi.json": get("This document", answer("OpenAPI 3.1.", {"type": "object"})),
        "/": get("The page", text("HTML.", "text/html")),
        **CONTROL,
        **FEEDBACK,
        **LINEAGE,
        **TENSORFLOW_SERVING,
        **OPEN_INFERENCE,
        **TORCHSERVE,
    },
    "security": [{}, {"bearer": []}, {"key": []}],
    "components": {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        },
        "schemas": {
            "Classification": record(
                model=STRING, version=INTEGER, predictions={"type": "array", "items": ref("Prediction")}
            ),
            "Prediction": {
                **record(label=STRING, probability=PROBABILITY, top={"type": "array", "items": ref("Class")}),
                "description": "`file` is the name that a form gave the image; `out_of_distribution` the share of "
                "held-out images that are nearer to what is usual.",
            },
            "Class": record(label=STRING, index=INTEGER, probability=PROBABILITY),
            "Models": record(default={"type": ["string", "null"]}, models={"type": "array", "items": ref("Model")}),
            "Model": record(
                name=STRING,
                live={"type": ["integer", "null"]},
                labels={"type": "object"},
                canary_fraction={"type": "number"},
                unloaded={"type": "boolean"},
                versions={"type": "array", "items": ref("Version")},
            ),
            "Version": record(
                version=INTEGER,
                state={"enum": ["loading", "available", "restarting", "parked", "rejected"]},
                live={"type": "boolean"},
                reason={"type": ["string", "null"]},
                restarts=INTEGER,
                class_names={"type": "array", "items": STRING},
                input={"type": ["object", "null"]},
            ),
            "Parts": {
                "type": "object",
                "required": ["model", "live"],
                "properties": {
                    "model": STRING,
                    **dict.fromkeys(("live", "previous", "canary", "shadow"), WHICH),
                    "canary_fraction": {"type": "number"},
                    "unloaded": {"type": "boolean"},
                },
            },
            "Stored": record(
                model=STRING,
                label=STRING,
                outcome={"enum": ["stored", "duplicate", "contradictory", "settled"]},
                image=STRING,
            ),
            "Collected": record(
                model=STRING,
                labelled={"type": "object"},
                contradictory={"type": "array"},
                kept=INTEGER,
                bytes=INTEGER,
                max_bytes=INTEGER,
            ),
            "ProtocolError": record(error=STRING),
            "TorchServeError": record(code=INTEGER, type=STRING, message=STRING),
            "Error": record(error=record(code=STRING, message=STRING, request_id=STRING)),
        },
    },
}
