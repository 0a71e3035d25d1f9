"""What a file is like beside its pixels: size, format, and what is odd about it."""

import io
from pathlib import PurePath
from typing import NamedTuple

from PIL import Image

from models.bundle.preprocessing import FORMATS, read_orientation

KINDS = ("", *FORMATS, "MPO")  # MPO is a JPEG with more pictures behind it
ODDITIES = (
    "CMYK",
    "16 bits a sample",
    "more than one frame",
    "turned by EXIF",
    "transparent",
    "extension does not match the format",
)
SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".mpo"},
    "PNG": {".png", ".apng"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
}


class Facts(NamedTuple):
    """Attributes: width and height in pixels, upright; position in KINDS; bits of ODDITIES."""

    width: int = 0
    height: int = 0
    kind: int = 0
    oddities: int = 0


def facts_of(data: bytes, path: str) -> Facts:
    """Read from the header of an image that can be decoded; nothing where it contradicts itself."""
    try:
        return read_header(data, path)
    except Exception:  # whatever a parser raises; the pixels are there, which is what counts
        return Facts()


def read_header(data: bytes, path: str) -> Facts:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind = image.format or ""
        orientation = read_orientation(image)
        width, height = image.size if orientation < 5 else image.size[::-1]
        odd = (
            image.mode == "CMYK",
            image.mode.startswith("I"),
            kind != "MPO" and getattr(image, "is_animated", False),
            orientation > 1,
            image.has_transparency_data,
            PurePath(path).suffix.lower() not in {"", *SUFFIXES.get(kind, ())},
        )
    return Facts(width, height, KINDS.index(kind), sum(1 << i for i, present in enumerate(odd) if present))
