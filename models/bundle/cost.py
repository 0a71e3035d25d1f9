"""Limits on what decoding may cost beside its pixels: parts of a file that are cheap to write and dear to read.

A kilobyte can name a million strips, and each makes Pillow do something in Python. Ordinary files are far below these
limits. They are looked up in the first bytes of a file, before Pillow sees it.
"""

import struct
from typing import NamedTuple

JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
MAX_SEGMENTS = 2000  # of a JPEG before its first scan; a colour profile or XMP data take at most some hundreds
MAX_SCANS = 200  # of a JPEG; encoders write 1 to 15
MAX_CHUNKS = 20_000  # of a PNG; encoders write one for every 8 kB or more
MAX_STRIPS = 20_000  # of a TIFF, or tiles
MAX_WEBP_PIXELS = 16_000_000  # which is decoded whole, with up to 27 bytes a pixel
MAX_RLE_PIXELS = 4_000_000  # of a BMP with run lengths, which Pillow decodes in Python
START_OF_SCAN = 0xDA
STRIP_OFFSETS, TILE_OFFSETS = 273, 324  # TIFF tags
BMP_RLE = (1, 2)  # compression: 8 or 4 bits a pixel


class TooMuch(NamedTuple):
    """What a file has too much of."""

    what: str
    most: int


def find_excess(data: bytes) -> TooMuch | None:
    """The limit that an encoded image exceeds."""
    if data.startswith(JPEG_START):
        return excess_of_jpeg(data)
    if data.startswith(PNG_START):
        return TooMuch("chunks", MAX_CHUNKS) if has_more_chunks(data, MAX_CHUNKS) else None
    if data[:2] in (b"II", b"MM") and num_strips(data) > MAX_STRIPS:
        return TooMuch("strips or tiles", MAX_STRIPS)
    if data[8:12] == b"WEBP" and webp_pixels(data) > MAX_WEBP_PIXELS:
        return TooMuch("pixels, for a WebP", MAX_WEBP_PIXELS)
    if data.startswith(b"BM") and is_large_rle(data):
        return TooMuch("pixels in run lengths", MAX_RLE_PIXELS)
    return None


def excess_of_jpeg(data: bytes) -> TooMuch | None:
    at = 2
    for _ in range(MAX_SEGMENTS):
        if data[at : at + 1] != b"\xff" or at + 4 > len(data):
            return None  # malformed, which the decoder says
        if data[at + 1] == START_OF_SCAN:
            too_many = data.count(b"\xff\xda", at) > MAX_SCANS
            return TooMuch("scans", MAX_SCANS) if too_many else None
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return TooMuch("segments", MAX_SEGMENTS)


def has_more_chunks(data: bytes, most: int) -> bool:
    at = len(PNG_START)
    for _ in range(most):
        if at + 8 > len(data):
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return at + 8 <= len(data)


def num_strips(data: bytes) -> int:
    """Strips or tiles that the first image of a TIFF or BigTIFF names."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        is_big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        entry, count, first = ("HHQ", "Q", "Q") if is_big else ("HHI", "H", "I")
        (at,) = struct.unpack_from(f"{order}{first}", data, 8 if is_big else 4)
        (entries,) = struct.unpack_from(f"{order}{count}", data, at)
        at += struct.calcsize(f"{order}{count}")
        most = 0
        for i in range(min(entries, 1000)):
            tag, _, number = struct.unpack_from(f"{order}{entry}", data, at + i * (20 if is_big else 12))
            if tag in (STRIP_OFFSETS, TILE_OFFSETS):
                most = max(most, number)
        return most
    except (struct.error, OverflowError):  # the latter for a place far behind the end
        return 0  # malformed, which the decoder says


def webp_pixels(data: bytes) -> int:
    """Width times height by the header (https://developers.google.com/speed/webp/docs/riff_container)."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return (1 + int.from_bytes(data[24:27], "little")) * (1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and len(data) >= 30:
        return (int.from_bytes(data[26:28], "little") & 0x3FFF) * (int.from_bytes(data[28:30], "little") & 0x3FFF)
    return 0


def is_large_rle(data: bytes) -> bool:
    if len(data) < 34:
        return False
    width, height = struct.unpack_from("<ii", data, 18)
    (compression,) = struct.unpack_from("<I", data, 30)
    return compression in BMP_RLE and abs(width * height) > MAX_RLE_PIXELS
