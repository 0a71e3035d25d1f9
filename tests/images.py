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


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    before: Iterable[tuple[bytes, bytes]] = (),
    after: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """A PNG by hand; `rows` are the samples, each row after its filter byte.

    Args:
        before, after: the pixels: further chunks, by name and content.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), *after, (b"IEND", b""))
    )


def lossless_jpeg(image: np.ndarray) -> bytes:
    """A grey image uint8 (H, W) as the lossless JPEG of ITU-T T.81, annex H, which Pillow reads and does not write.

    Each pixel is predicted by its left neighbour (in the first column by the upper one); of the difference a code of
    five bits says how many bits follow.
    """
    height, width = image.shape
    predicted = np.empty((height, width), np.int32)
    predicted[:, 1:] = image[:, :-1]
    predicted[1:, 0] = image[:-1, 0]
    predicted[0, 0] = 128
    bits = ""
    for difference in (image.astype(np.int32) - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        value = difference if difference > 0 else difference + (1 << size) - 1
        bits += f"{size:05b}" + (f"{value:0{size}b}" if size else "")
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    table = bytes([0, *(17 if length == 5 else 0 for length in range(1, 17)), *range(17)])
    segments = [
        (0xC3, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)),  # start of frame
        (0xC4, table),  # Huffman codes
        (0xDA, bytes([1, 1, 0, 1, 0, 0])),  # start of scan; predictor 1
    ]
    parts = (struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + b"".join(parts) + coded + b"\xff\xd9"


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


def two_shades(count: int) -> dict[str, list[np.ndarray]]:
    """Two classes of so many grey images each, which any network tells apart."""
    return {"dark": shades(count, 0, 100), "light": shades(count, 150, 250)}
