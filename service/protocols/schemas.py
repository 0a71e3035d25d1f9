"""Parts of the OpenAPI document that several routes share: parameters, bodies, answers and errors."""

from typing import Any

Schema = dict[str, Any]


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


STRING = {"type": "string"}
INTEGER = {"type": "integer"}
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
