"""Tiny images for tests: as arrays, as encoded bytes, as folders; and files that no encoder would write."""

import io
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

UNDO = {  # EXIF orientation: what a camera does to the upright image, so that the orientation undoes it
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """uint8 random numbers."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3) with no detail finer than a sixth of the image, as a blurred photograph."""
    return np.asarray(Image.fromarray(noise(6, 6, 3, seed=seed)).resize((width, height), Image.Resampling.BICUBIC))


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An array or a Pillow image as the bytes of a file of this kind."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def encode_turned(image: np.ndarray, orientation: int, kind: str, **options: Any) -> bytes:
    """The image as a camera held another way stores it: turned, with the EXIF orientation that says how."""
    turn = UNDO[orientation]
    stored = Image.fromarray(image) if turn is None else Image.fromarray(image).transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode(stored, kind, exif=exif, **options)


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG by hand; `rows` are the samples, each row after its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def tiled_tiff(side: int, tile_side: int, data: bytes) -> bytes:
    """A grey TIFF by hand: one deflated tile, of whatever size it claims."""
    fields = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1)]
    fields += [(322, tile_side), (323, tile_side), (324, 8 + 2 + 12 * 10 + 4), (325, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + struct.pack("<I", 0) + data


def write_folder(root: Path, classes: Mapping[str, Iterable[np.ndarray | bytes]], *, suffix: str = ".png") -> Path:
    """`root/<class>/<number>.png` of arrays, or of bytes as they are; returns `root`."""
    for name, images in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images):
            data = image if isinstance(image, bytes) else encode(image)
            (root / name / f"{i:03}{suffix}").write_bytes(data)
    return root


def shades(count: int, low: int, high: int, *, side: int = 8, seed: int = 0) -> list[np.ndarray]:
    """Grey images (side, side) of noise between two levels; no two alike."""
    return list(np.random.default_rng(seed).integers(low, high, (count, side, side), dtype=np.uint8))
