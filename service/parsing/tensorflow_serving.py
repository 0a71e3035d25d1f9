"""Bodies of TensorFlow Serving's `predict` and `classify`.

https://github.com/tensorflow/serving/blob/2.20.0/tensorflow_serving/g3doc/api_rest.md. Images are `{"b64": "..."}` of
an encoded file, under whatever signature, or nested lists of the decoded pixels.
"""

from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from service.errors import BadRequest
from service.parsing.images import Batch, pixels_of, read_base64
from service.parsing.json_document import MOST_NUMBERS, fit, parse_json

SIGNATURES = ("serving_default", "serving_bytes")
INPUTS = ("images", "image_bytes", "image")  # the signatures' own names, and what people call it

T = TypeVar("T", bound="Signed")


class Signed(msgspec.Struct):
    """A request that may name a signature; all of them answer alike."""

    signature_name: str = SIGNATURES[0]


class PredictRequest(Signed):
    """One of `instances` (rows) and `inputs` (columns)."""

    instances: list[Any] | UnsetType = UNSET
    inputs: Any | UnsetType = UNSET


class ClassifyRequest(Signed, kw_only=True):
    """Examples of one feature each, an image as {"b64": "..."}."""

    examples: list[Any]


class Asked(msgspec.Struct):
    """The images of a request, and by which key it gave them."""

    key: Literal["instances", "inputs", "examples"]
    batch: Batch


def read_predict(body: bytes, max_images: int) -> Asked:
    """
    Raises:
        BadRequest, TooLarge, Unprocessable: it is something else, or too much.
    """
    asked_for = read_signed(body, PredictRequest)
    instances, inputs = asked_for.instances, asked_for.inputs
    if (instances is UNSET) == (inputs is UNSET):
        raise BadRequest("Missing 'inputs' or 'instances' key: send one of the two.")
    if instances is not UNSET:
        return Asked("instances", read_batch(instances, "instances", max_images))
    if isinstance(inputs, dict) and len(inputs) == 1 and inputs.keys() <= set(INPUTS):
        (inputs,) = inputs.values()
    return Asked("inputs", read_batch(inputs, "inputs", max_images))


def read_classify(body: bytes, max_images: int) -> Asked:
    """
    Raises:
        BadRequest, TooLarge, Unprocessable: it is something else, or too much.
    """
    images = [without_list(example) for example in read_signed(body, ClassifyRequest).examples]
    return Asked("examples", read_batch(images, "examples", max_images))


def read_signed(body: bytes, kind: type[T]) -> T:
    if not body:
        raise BadRequest("JSON Parse error: The document is empty")
    found = fit(parse_json(body, most_values=MOST_NUMBERS), kind)
    if found.signature_name and found.signature_name not in SIGNATURES:
        raise BadRequest(f'Serving signature name: "{found.signature_name[:100]}" not found in signature def')
    return found


def read_batch(values: Any, key: str, max_images: int) -> Batch:
    """The values of a batch: all encoded, or all pixels."""
    if not isinstance(values, list) or not values:
        raise BadRequest(f"'{key}' has to be a list of one image or more.")
    rows = [unwrap(value) for value in values]
    encoded = all(isinstance(row, str) for row in rows)
    images = [read_base64(row, f"{key}[{i}]") for i, row in enumerate(rows)] if encoded else pixels_of(rows, key)
    return Batch.of(images, max_images)


def unwrap(value: Any) -> Any:
    """What is in {"b64": ...}, {"images": ...} and {"image_bytes": {"b64": ...}}: base64, or a list of pixels."""
    if isinstance(value, dict) and len(value) == 1:
        ((key, inner),) = value.items()
        if key == "b64" and isinstance(inner, str):
            return inner
        if key in INPUTS and not (isinstance(inner, dict) and set(inner) & set(INPUTS)):
            return unwrap(inner)
    if isinstance(value, list):
        return value
    raise BadRequest(
        f'An image is {{"b64": "..."}} or nested lists of pixels, by itself or as one of {", ".join(INPUTS)}.'
    )


def without_list(example: Any) -> Any:
    """A feature of an example may be a list of one."""
    if not isinstance(example, dict) or len(example) != 1:
        raise BadRequest('An example is an object of one feature: {"image": {"b64": "..."}}.')
    ((name, value),) = example.items()
    is_list_of_one = isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)
    return {name: value[0] if is_list_of_one else value}
