"""/openapi.json: every route of the service, in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from typing import Any

Schema = dict[str, Any]
VERSION = "0.1.0"


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def errors(*statuses: int, schema: str = "Error") -> Schema:
    return {str(status): answer(ERRORS[status], ref(schema)) for status in statuses}


ERRORS = {
    401: "An API key is wanted, or another.",
    403: "The API key does not allow this.",
    409: "The version is missing, broken or live already, or the exports cannot be written.",
    400: "There is no image, or it is damaged, or the body or a parameter is malformed or not known.",
    404: "There is no such model or version; GET /models lists them.",
    408: "The body did not arrive in time.",
    413: "Too many bytes, images or pixels.",
    415: "An image format that is not read, or a Content-Encoding.",
    422: "Well-formed, but not what is taken: the message says what is.",
    500: "The model could not answer this image: `engine_crash` or `model_failed`.",
    503: "Not ready, stopping, or too many images waiting; try again after Retry-After seconds.",
    507: "The budget of the feedback folder (SERVICE_FEEDBACK_BYTES) or the disk is used up; nothing was stored.",
    504: "No answer within the deadline.",
}
CLASSIFY_ERRORS = errors(400, 401, 404, 408, 413, 415, 422, 500, 503, 504)
CONTROL_ERRORS = errors(400, 401, 403, 404, 408, 409, 413, 415, 422)

NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
NUMBER = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
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


def post_json(summary: str, body: Schema, response: Schema, *parameters: Schema, failures: Schema) -> Schema:
    return {
        "post": {
            "summary": summary,
            "parameters": list(parameters),
            "requestBody": {"content": {"application/json": {"schema": body}}},
            "responses": {"200": response, **failures},
        }
    }


def control(summary: str, **properties: Schema) -> Schema:
    body = {"type": "object", "additionalProperties": False, "properties": properties, "required": [*properties][:1]}
    return post_json(
        summary, body, answer("Which versions have a part now.", ref("Parts")), NAME, failures=CONTROL_ERRORS
    )


def per_version(paths: dict[str, Schema], prefix: str, suffix: str, *, labels: bool) -> dict[str, Schema]:
    """The same for the live version, for one by its number and, where there are such, for one by its label."""
    kinds = {"": [], "/versions/{version}": [NUMBER]} | ({"/labels/{label}": [LABEL]} if labels else {})
    return {
        f"{prefix}{kind}{suffix}": {
            method: {**operation, "parameters": [*operation["parameters"], *parameters]}
            for method, operation in paths.items()
        }
        for kind, parameters in kinds.items()
    }


LABEL: Schema = {
    "name": "label",
    "in": "path",
    "required": True,
    "schema": {"enum": ["live", "previous", "canary", "shadow"]},
}
ANY: Schema = {"type": "object"}
SERVING_ERRORS = errors(400, 401, 404, 408, 413, 415, 500, 503, 504, schema="ProtocolError")
ASKING_ERRORS = errors(400, 401, 404, 500, 503, 504, schema="ProtocolError")
TORCHSERVE_ERRORS = errors(400, 401, 404, 408, 413, 415, 422, 500, 503, 504, schema="TorchServeError")
BATCH: Schema = {"type": "array", "minItems": 1}

TENSORFLOW_SERVING: Schema = {
    **per_version(
        post_json(
            "TensorFlow Serving: probabilities for `instances` (rows) or `inputs` (columns)",
            {"type": "object", "properties": {"signature_name": STRING, "instances": BATCH, "inputs": {}}},
            answer("`predictions` or `outputs`.", ANY),
            NAME,
            failures=SERVING_ERRORS,
        ),
        "/v1/models/{name}",
        ":predict",
        labels=True,
    ),
    **per_version(
        post_json(
            "TensorFlow Serving: labels and probabilities, the most probable first",
            {"type": "object", "required": ["examples"], "properties": {"signature_name": STRING, "examples": BATCH}},
            answer("One list of pairs an example.", record(results={"type": "array"})),
            NAME,
            TOP_K,
            failures=SERVING_ERRORS,
        ),
        "/v1/models/{name}",
        ":classify",
        labels=True,
    ),
    **per_version(
        {
            "post": {
                "summary": "TensorFlow Serving: no classifier regresses",
                "parameters": [NAME],
                "responses": errors(400, 401, 404, 408, 413, 415, 503, schema="ProtocolError"),
            }
        },
        "/v1/models/{name}",
        ":regress",
        labels=True,
    ),
    "/v1/models": get(
        "KServe: all models",
        answer("Their names.", record(models={"type": "array", "items": STRING})),
        failures=errors(400, 401, schema="ProtocolError"),
    ),
    **per_version(
        get("TensorFlow Serving, KServe: state", answer("The state.", ANY), NAME, failures=ASKING_ERRORS),
        "/v1/models/{name}",
        "",
        labels=True,
    ),
    **per_version(
        get("TensorFlow Serving: signatures", answer("The signatures.", ANY), NAME, failures=ASKING_ERRORS),
        "/v1/models/{name}",
        "/metadata",
        labels=True,
    ),
}

HEADER_LENGTH: Schema = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of JSON before binary tensors; 0: the body is one encoded image.",
    "schema": {"type": "integer", "minimum": 0},
}
TENSOR: Schema = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"enum": ["images", "image_bytes", "image"]},
        "shape": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": ["UINT8", "BYTES"]},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
INFERENCE: Schema = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": STRING,
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": TENSOR},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}
INFERRED: Schema = {
    "description": "Probabilities, or classes; with `binary_data` as bytes behind the JSON.",
    "content": {"application/json": {"schema": ANY}, "application/octet-stream": IMAGE_BODY},
}

OPEN_INFERENCE: Schema = {
    "/v2": get(
        "Open Inference Protocol: the server",
        answer("Its extensions.", ANY),
        failures=errors(400, 401, schema="ProtocolError"),
    ),
    "/v2/": get("The same", answer("Its extensions.", ANY), failures=errors(400, 401, schema="ProtocolError")),
    "/v2/health/live": get("Is this process alive?", answer("It is.", record(live={"type": "boolean"}))),
    "/v2/health/ready": get("Do models answer?", answer("They do.", ANY), failures=ASKING_ERRORS),
    "/v2/models": get(
        "All models",
        answer("Their names.", record(models={"type": "array", "items": STRING})),
        failures=errors(400, 401, schema="ProtocolError"),
    ),
    **per_version(
        get("Inputs and outputs", answer("The metadata.", ANY), NAME, failures=ASKING_ERRORS),
        "/v2/models/{name}",
        "",
        labels=False,
    ),
    **per_version(
        get("Does it answer?", answer("It does.", ANY), NAME, failures=ASKING_ERRORS),
        "/v2/models/{name}",
        "/ready",
        labels=False,
    ),
    **per_version(
        {
            "post": {
                "summary": "Probabilities, or with the classification extension classes",
                "parameters": [NAME, HEADER_LENGTH],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": INFERENCE}, "application/octet-stream": IMAGE_BODY},
                },
                "responses": {"200": INFERRED, **SERVING_ERRORS},
            }
        },
        "/v2/models/{name}",
        "/infer",
        labels=False,
    ),
    **per_version(
        get("How many, how long", answer("Counts, nanoseconds.", ANY), NAME, failures=ASKING_ERRORS),
        "/v2/models/{name}",
        "/stats",
        labels=False,
    ),
    "/v2/models/stats": get("The same of all models", answer("Counts, nanoseconds.", ANY), failures=ASKING_ERRORS),
    "/v2/repository/index": post_json(
        "Every model and version, or those that answer",
        {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        answer("Their states.", {"type": "array"}),
        failures=errors(400, 401, 408, 413, 415, schema="ProtocolError"),
    ),
    **{
        f"/v2/repository/models/{{name}}/{verb}": {
            "post": {
                "summary": summary,
                "parameters": [NAME],
                "responses": {
                    "200": {"description": "Done."},
                    **errors(400, 401, 403, 404, 409, 415, schema="ProtocolError"),
                },
            }
        }
        for verb, summary in (("load", "Have an unloaded model answer again"), ("unload", "End a model's engines"))
    },
}

TORCHSERVE: Schema = {
    "/ping": get("TorchServe: does the default model answer?", answer("It does.", STATUS), failures=TORCHSERVE_ERRORS),
    **{
        path: {
            method: {
                "summary": "TorchServe: {label: probability}",
                "parameters": [*parameters, TOP_K],
                "requestBody": BODY,
                "responses": {"200": answer("One object, or a list for several images.", {}), **TORCHSERVE_ERRORS},
            }
            for method in ("post", "put")
        }
        for path, parameters in (("/predictions/{name}", [NAME]), ("/predictions/{name}/{version}", [NAME, NUMBER]))
    },
}

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
