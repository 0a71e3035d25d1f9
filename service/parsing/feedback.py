"""Feedback as JSON: a label, and which image it is for."""

import msgspec
from msgspec import UNSET, UnsetType

from service.errors import Unprocessable
from service.parsing.images import read_base64
from service.parsing.json_document import fit, parse_json

SOURCES = ("image", "request_id", "digest")


class FeedbackJson(msgspec.Struct, forbid_unknown_fields=True):
    """The right label of an image, which one of `image`, `request_id` and `digest` names.

    `image` is base64; `index` says which image of the request; `settle`: this label holds, whatever was said before.
    """

    label: str
    image: str | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    digest: str | UnsetType = UNSET
    index: int = 0
    settle: bool = False


class SaidFeedback(msgspec.Struct):
    """The same, with the encoded image; one of the three that name an image is not None."""

    label: str
    settle: bool
    image: bytes | None = None
    request_id: str | None = None
    digest: str | None = None
    index: int = 0


def read_feedback(body: bytes) -> SaidFeedback:
    """
    Raises:
        BadRequest, TooLarge, Unprocessable: it is something else.
    """
    said = fit(parse_json(body), FeedbackJson)
    sources = [source for source in SOURCES if getattr(said, source) is not UNSET]
    if len(sources) != 1:
        raise Unprocessable(f"The JSON has to be an object of a label and one of {', '.join(SOURCES)}.")
    image = read_base64(said.image, "image").data if isinstance(said.image, str) else None
    request_id = said.request_id if isinstance(said.request_id, str) else None
    digest = said.digest if isinstance(said.digest, str) else None
    return SaidFeedback(said.label, said.settle, image, request_id, digest, min(max(said.index, -1), 2**31))
