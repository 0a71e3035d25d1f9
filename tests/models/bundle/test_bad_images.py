"""Bytes that are no image, or no image to decode: always a BadImage that says what came and what to send."""

import io
import os
import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from models.bundle.preprocessing import FORMATS, BadImage, InputSpec, decode_image
from tests.images import encode, encode_turned, lossless_jpeg, noise, png, smooth, tiled_tiff

SPEC = InputSpec(8, 8, 3)
NUM_MUTANTS = 60  # of each seed file
ODD_INPUTS = os.environ.get("STRIATE_ODD_INPUTS")

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")  # of damage that it can cope with; the rest it raises


def code_of(data: bytes, spec: InputSpec = SPEC, **options: int) -> str:
    with pytest.raises(BadImage) as caught:
        decode_image(data, spec, **options)
    assert str(caught.value)[0].isupper()
    return caught.value.code


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cat.png", encode(noise(8, 8, 3)))
    return buffer.getvalue()


def ftyp(brand: bytes) -> bytes:
    """The first box of an ISO media file, by which AVIF and HEIC are known."""
    return b"\0\0\0\x20ftyp" + brand + bytes(20)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "image_invalid"),
        (b"\xff", "image_invalid"),
        (bytes(1000), "image_invalid"),
        (noise(1000).tobytes(), "image_invalid"),
        (b"This is a text file, whatever its name says.\n", "image_invalid"),
        (b"<!doctype html><html><img src=cat.jpg></html>", "image_invalid"),
        (zipped(), "image_invalid"),
        (b"GIF89a, or so it says", "image_invalid"),
        (b"%PDF-1.7\n1 0 obj\n", "image_format_unsupported"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image_format_unsupported"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "image_format_unsupported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image_format_unsupported"),
        (ftyp(b"avif"), "image_format_unsupported"),
        (ftyp(b"heic"), "image_format_unsupported"),
        (encode(noise(8, 8, 3), "ICO"), "image_format_unsupported"),
        (encode(noise(8, 8, 3), "DDS"), "image_format_unsupported"),
        (encode(noise(8, 8, 3), "TGA"), "image_invalid"),
        (encode(noise(8, 8, 3), "PPM"), "image_invalid"),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else value,
)
def test_what_is_no_image_that_we_read_is_refused(data: bytes, code: str) -> None:
    assert code_of(data) == code


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_a_real_avif_is_refused_although_pillow_could_read_it() -> None:
    assert code_of(encode(noise(8, 8, 3), "AVIF")) == "image_format_unsupported"


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_avif_is_read_where_it_is_asked_for() -> None:
    data = encode(smooth(8, 8), "AVIF")
    assert decode_image(data, InputSpec(8, 8, 3), formats=(*FORMATS, "AVIF")).shape == (8, 8, 3)


@pytest.mark.parametrize("data", [b"", b"text", ftyp(b"avif"), encode(noise(64, 64, 3))[:2000]])
def test_a_refusal_says_what_to_send(data: bytes) -> None:
    with pytest.raises(BadImage, match="Send JPEG, PNG, WEBP, GIF, BMP or TIFF"):
        decode_image(data, SPEC)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("image", [noise(64, 64, 3), smooth(64, 64)], ids=["noise", "smooth"])
def test_a_file_cut_short_is_refused_rather_than_filled_up(kind: str, kept: float, image: np.ndarray) -> None:
    data = encode(image, kind)
    assert code_of(data[: int(kept * len(data))]) == "image_invalid"


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
@pytest.mark.parametrize("where", [0.3, 0.5, 0.9])
def test_a_file_damaged_in_the_middle_is_refused_rather_than_filled_up(kind: str, where: float) -> None:
    """Reading the orientation of a PNG loads it; the error was swallowed there, and the rest was taken as black."""
    data = bytearray(encode(smooth(64, 64), kind))
    at = int(where * len(data))
    data[at : at + 40] = b"\xff" * 40
    assert code_of(bytes(data)) == "image_invalid"


def bmp_header(side: int) -> bytes:
    data = bytearray(encode(noise(8, 8, 3), "BMP"))
    data[18:26] = struct.pack("<ii", side, side)
    return bytes(data)


def gif_header(side: int) -> bytes:
    data = bytearray(encode(noise(8, 8), "GIF"))
    data[6:10] = struct.pack("<HH", side, side)
    return bytes(data)


def jpeg_header(side: int) -> bytes:
    data = bytearray(encode(noise(8, 8, 3), "JPEG"))
    frame = data.index(b"\xff\xc0")  # start of frame: marker, length, precision, height, width
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [png(64250, 64250, b""), bmp_header(64250), gif_header(64250), jpeg_header(64250)],
    ids=["PNG", "BMP", "GIF", "JPEG"],
)
def test_too_many_pixels_are_refused_by_the_header_before_anything_is_decoded(data: bytes) -> None:
    assert len(data) < 2000  # there are no such pixels: had it tried to decode them, it would call the file broken
    assert code_of(data) == "image_too_many_pixels"


def test_a_tile_larger_than_its_image_counts_as_what_it_takes_to_decode() -> None:
    """A 16x16 TIFF whose one tile has 24000x24000 pixels took 585 MB to decode, of 560 kB that came."""
    assert code_of(tiled_tiff(16, 24000, zlib.compress(bytes(1000)))) == "image_too_many_pixels"


def test_a_tile_of_reasonable_size_is_decoded() -> None:
    data = tiled_tiff(16, 32, zlib.compress(bytes([77]) * 32 * 32))
    assert (decode_image(data, InputSpec(16, 16, 1)) == 77).all()


def test_the_limit_of_pixels_can_be_set_and_is_named() -> None:
    data = encode(noise(10, 10, 3))
    assert decode_image(data, SPEC, max_pixels=100).shape == SPEC.shape
    with pytest.raises(BadImage, match=r"has 10x10 pixels; at most 99 in all"):
        decode_image(data, SPEC, max_pixels=99)


PHOTOGRAPH = smooth(400, 400)  # 160,000 pixels


@pytest.mark.parametrize("image", [PHOTOGRAPH, PHOTOGRAPH[:, :, 0]], ids=["colour", "grey"])
def test_a_baseline_jpeg_may_have_five_times_the_pixels(image: np.ndarray) -> None:
    """Telephones take photographs of 48 million and more; scaled while they are decoded, these cost little."""
    data = encode(image, "JPEG")
    scan = data.index(b"\xff\xda")
    for same in (data, data[:scan] + b"\xff\xff" + data[scan:]):  # bytes that fill up are allowed before any marker
        np.testing.assert_array_equal(decode_image(same, SPEC, max_pixels=32_000), decode_image(data, SPEC))
    with pytest.raises(
        BadImage, match=r"400x400 pixels; at most 31,999 in all are read, and 159,995 of a baseline JPEG"
    ):
        decode_image(data, SPEC, max_pixels=31_999)


def test_a_jpeg_whose_coefficients_have_to_be_in_memory_at_once_may_not() -> None:
    baseline = encode(PHOTOGRAPH, "JPEG")
    scan = baseline.index(b"\xff\xda")
    separate = baseline[: scan + 4] + b"\1" + baseline[scan + 5 :]  # a scan for each component, or so it says
    for data in (encode(PHOTOGRAPH, "JPEG", progressive=True), separate, lossless_jpeg(PHOTOGRAPH[:, :, 0])):
        assert code_of(data, max_pixels=159_999) == "image_too_many_pixels"


def test_a_large_baseline_jpeg_is_refused_where_the_network_wants_it_large() -> None:
    data = encode(PHOTOGRAPH, "JPEG")
    assert decode_image(data, InputSpec(200, 200, 3), max_pixels=40_000).shape == (200, 200, 3)
    assert code_of(data, InputSpec(240, 240, 3), max_pixels=40_000) == "image_too_many_pixels"


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The file with one to four small harms: bits flipped, bytes overwritten, a piece removed, repeated or cut off."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        at = rng.randrange(min(len(changed), rng.choice((64, len(changed)))))
        length = rng.randint(1, 16)
        match rng.randrange(5):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length] = rng.randbytes(length)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * rng.randint(1, 4)
            case 4:
                del changed[at + length :]
    return bytes(changed)


def seeds() -> dict[str, bytes]:
    picture = Image.fromarray(smooth(16, 12))
    frames = {"save_all": True, "append_images": [picture.rotate(180)]}
    return {
        **{kind: encode(picture, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")},
        "palette": encode(picture.quantize(16), "PNG", transparency=3),
        "deflated": encode(picture, "TIFF", compression="tiff_adobe_deflate"),
        "progressive": encode_turned(smooth(16, 12), 6, "JPEG", progressive=True),
        "APNG": encode(picture, "PNG", **frames),
        "animated": encode(picture, "GIF", **frames),
        "lossless": lossless_jpeg(smooth(16, 12)[:, :, 0]),
        "LAB": encode(Image.merge("LAB", picture.split()), "TIFF"),
        "deep": png(2, 1, b"\0" + bytes(12), depth=16, colour=2, before=[(b"tRNS", bytes(6)), (b"tEXt", b"a\0b")]),
    }


@pytest.mark.parametrize(("name", "data"), seeds().items(), ids=seeds())
def test_a_damaged_file_gives_an_image_or_a_refusal_and_nothing_else(name: str, data: bytes) -> None:
    rng = random.Random(f"{name} 1")
    for _ in range(NUM_MUTANTS):
        check_answer(mutate(data, rng), max_pixels=1_000_000)


def check_answer(data: bytes, *, max_pixels: int) -> bool:
    """Whether it was an image; anything but an image of the right kind or a BadImage fails the test."""
    try:
        image = decode_image(data, SPEC, max_pixels=max_pixels)
    except BadImage:
        return False
    assert image.shape == SPEC.shape
    assert image.dtype == np.uint8
    return True


@pytest.mark.skipif(not ODD_INPUTS, reason="set STRIATE_ODD_INPUTS to a folder of odd files")
def test_every_file_of_a_folder_of_odd_ones_gives_an_image_or_a_refusal() -> None:
    paths = [path for path in sorted(Path(ODD_INPUTS or "").rglob("*")) if path.is_file()]
    readable = sum(check_answer(path.read_bytes(), max_pixels=40_000_000) for path in paths)
    print(f"{len(paths)} files, {readable} images")
    assert paths
