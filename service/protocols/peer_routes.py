"""The routes of other servers' protocols, for the OpenAPI document."""

from service.protocols.schemas import (
    ANY,
    ASKING_ERRORS,
    BATCH,
    BODY,
    IMAGE_BODY,
    NAME,
    NUMBER,
    SERVING_ERRORS,
    STATUS,
    STRING,
    TOP_K,
    TORCHSERVE_ERRORS,
    Schema,
    answer,
    errors,
    get,
    per_version,
    post_json,
    record,
)

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
