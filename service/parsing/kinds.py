"""The kinds of bodies that are parsed. A decoder process parses these and no others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service.parsing.feedback import SaidFeedback, read_feedback
from service.parsing.forms import Form, read_form
from service.parsing.images import Batch, read_base64_images
from service.parsing.open_inference import Inference, end_of_json, read_inference
from service.parsing.tensorflow_serving import Asked, read_classify, read_predict

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """
    Args:
        read: the body and further arguments -> what it says; raises ServiceError.
        result: the type of that, which msgspec can write.
        num_bytes: of the body that take time to be parsed; the rest is only copied.
    """

    name: str
    read: Callable[..., T]
    result: type[T]
    num_bytes: Callable[..., int] = lambda body, *_: len(body)


def bytes_of_json(body: bytes, length: str | None, *_: Any) -> int:
    return 0 if length == "0" else end_of_json(body, length)


IMAGES = Kind("images", read_base64_images, Batch)
FORM = Kind("form", read_form, Form)
FEEDBACK = Kind("feedback", read_feedback, SaidFeedback)
PREDICT = Kind("predict", read_predict, Asked)
CLASSIFY = Kind("classify", read_classify, Asked)
INFER = Kind("infer", read_inference, Inference, bytes_of_json)
KINDS: dict[str, Kind[Any]] = {kind.name: kind for kind in (IMAGES, FORM, FEEDBACK, PREDICT, CLASSIFY, INFER)}
