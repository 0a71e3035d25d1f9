"""What an image's bytes become: the pixels that Pillow has, upright, opaque, in 8 bits."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from models.bundle.preprocessing import ORIENTATION, BadImage, InputSpec, decode_image, is_tiny, suffix_of
from tests.images import UNDO, encode, encode_turned, lossless_jpeg, noise, png, smooth

HEIGHT, WIDTH = 24, 36
COLOUR = InputSpec(HEIGHT, WIDTH, 3)
GREY = InputSpec(HEIGHT, WIDTH, 1)
DEEP = (0, 256, 32768, 65535)  # 16-bit samples
SHALLOW = (0, 1, 128, 255)  # the same in 8 bits


def decode_pixel(image: Image.Image, kind: str = "PNG", channels: int = 3, **options: object) -> list[int]:
    """The first pixel of what an image of one colour becomes."""
    spec = InputSpec(image.height, image.width, channels)
    return decode_image(encode(image, kind, **options), spec)[0, 0].tolist()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("spec", [COLOUR, GREY], ids=["colour", "grey"])
def test_every_format_gives_the_pixels_that_pillow_has(kind: str, spec: InputSpec) -> None:
    data = encode(smooth(HEIGHT, WIDTH), kind)
    expected = Image.open(io.BytesIO(data)).convert("RGB").convert("L" if spec.channels == 1 else "RGB")
    got = decode_image(data, spec)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.asarray(expected).reshape(spec.shape))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_lossless_format_gives_the_pixels_that_were_stored(kind: str) -> None:
    pixels = noise(HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(decode_image(encode(pixels, kind), COLOUR), pixels)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    red, green, blue = (Image.new("RGB", (WIDTH, HEIGHT), name) for name in ("red", "lime", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(red, kind, save_all=True, append_images=[green, blue], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (decode_image(data, COLOUR) == [255, 0, 0]).all()


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("1", 1, "PNG", [255, 255, 255]),
        ("L", 90, "PNG", [90, 90, 90]),
        ("P", (10, 20, 30), "PNG", [10, 20, 30]),
        ("P", (10, 20, 30), "GIF", [10, 20, 30]),
        ("P", (10, 20, 30), "BMP", [10, 20, 30]),
        ("RGB", (10, 20, 30), "PNG", [10, 20, 30]),
        ("CMYK", (0, 255, 255, 0), "TIFF", [255, 0, 0]),
        ("CMYK", (0, 0, 0, 255), "TIFF", [0, 0, 0]),
    ],
)
def test_every_mode_becomes_rgb(mode: str, colour: object, kind: str, expected: list[int]) -> None:
    if mode == "P":
        image = Image.new("RGB", (8, 8), colour).convert("P", palette=Image.Palette.ADAPTIVE)
    else:
        image = Image.new(mode, (8, 8), colour)
    assert decode_pixel(image, kind) == expected


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    red = decode_pixel(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    assert np.abs(np.array(red) - [255, 0, 0]).max() <= 3


def test_the_greys_of_a_palette_are_those_of_its_colours_not_of_its_indices() -> None:
    image = Image.new("RGB", (8, 8), (0, 255, 0)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert decode_pixel(image, channels=1) == [150]


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), {}),
        (Image.new("LA", (8, 8), (0, 0)), {}),
        (Image.new("P", (8, 8), 0), {"transparency": 0}),
        (Image.new("L", (8, 8), 7), {"transparency": 7}),
        (Image.new("RGB", (8, 8), (1, 2, 3)), {"transparency": (1, 2, 3)}),
        (Image.new("1", (8, 8), 0), {"transparency": 0}),
    ],
    ids=["RGBA", "LA", "P", "L", "RGB", "1"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_becomes_white(image: Image.Image, options: dict[str, object], channels: int) -> None:
    assert decode_pixel(image, channels=channels, **options) == [255] * channels


def test_what_is_half_transparent_is_half_white() -> None:
    assert decode_pixel(Image.new("RGBA", (8, 8), (255, 0, 0, 128))) == [255, 127, 127]
    assert decode_pixel(Image.new("LA", (8, 8), (0, 128)), channels=1) == [127]


def test_a_transparent_gif_and_webp_lie_on_white_too() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert decode_pixel(clear, "GIF") == [255, 255, 255]
    assert decode_pixel(clear, "WEBP", lossless=True, exact=True) == [255, 255, 255]


@pytest.mark.parametrize(
    "data",
    [
        encode(Image.fromarray(np.array([DEEP], np.uint16))),
        encode(Image.fromarray(np.array([DEEP], np.uint16)), "TIFF"),
        encode(Image.fromarray(np.array([DEEP], ">u2")), "TIFF"),
        encode(Image.fromarray(np.array([DEEP], np.int32)), "TIFF"),
    ],
    ids=["PNG", "little-endian TIFF", "big-endian TIFF", "32-bit TIFF"],
)
def test_deep_grey_samples_are_scaled_not_clipped(data: bytes) -> None:
    assert decode_image(data, InputSpec(1, 4, 1)).ravel().tolist() == list(SHALLOW)
    assert decode_image(data, InputSpec(1, 4, 3))[0, :, 2].tolist() == list(SHALLOW)


def test_deep_colour_samples_are_scaled_too() -> None:
    samples = b"".join(struct.pack(">3H", value, 0, 65535 - value) for value in DEEP)
    got = decode_image(png(4, 1, b"\0" + samples, depth=16, colour=2), InputSpec(1, 4, 3))
    assert got[0].tolist() == [[0, 0, 255], [1, 0, 254], [128, 0, 127], [255, 0, 0]]


def chunk_of_text(kind: bytes, key: bytes, text: bytes) -> tuple[bytes, bytes]:
    packed = zlib.compress(text)
    return kind, key + {b"iCCP": b"\0\0", b"zTXt": b"\0\0", b"iTXt": b"\0\1\0\0\0", b"tEXt": b"\0"}[kind] + (
        text if kind == b"tEXt" else packed
    )


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt", b"tEXt"])
@pytest.mark.parametrize("key", [b"anything", b"Raw profile type exif", b"XML:com.adobe.xmp"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_long_text_or_colour_profile_costs_no_png(kind: bytes, key: bytes, where: str) -> None:
    """Beyond a megabyte Pillow calls the whole image damaged."""
    chunk = chunk_of_text(kind, key, b"a" * 2_000_000)
    data = png(2, 1, b"\0" + bytes((10, 250)), **{where: [chunk]})
    assert decode_image(data, InputSpec(1, 2, 1)).ravel().tolist() == [10, 250]
    assert suffix_of(data) == ".png"


def test_texts_and_colour_profiles_are_not_even_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin, "_safe_zlib_decompress", lambda _: pytest.fail("it was unpacked"))
    chunks = [chunk_of_text(kind, b"bomb", bytes(900_000)) for kind in (b"iCCP", b"zTXt", b"iTXt")]
    assert decode_image(png(1, 1, b"\0\7", before=chunks), InputSpec(1, 1, 1)).ravel().tolist() == [7]


@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"key\0\7nonsense"),  # an unknown compression
        (b"gAMA", b"\0"),  # too short, as are the next
        (b"pHYs", b"\0"),
        (b"cHRM", b"\0"),
        (b"sRGB", b""),
    ],
    ids=lambda chunk: chunk[0].decode(),
)
def test_metadata_that_are_wrong_cost_no_png(chunk: tuple[bytes, bytes]) -> None:
    assert decode_image(png(1, 1, b"\0\7", before=[chunk]), InputSpec(1, 1, 1)).ravel().tolist() == [7]


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"eXIf"])
def test_a_png_is_put_upright_wherever_it_says_how(kind: bytes) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    block = exif.tobytes()
    hexadecimal = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    if kind == b"eXIf":
        chunk = kind, block.removeprefix(b"Exif\0\0")
    elif kind == b"iTXt":
        chunk = chunk_of_text(kind, b"XML:com.adobe.xmp", b'<x tiff:Orientation="3"/>')
    else:
        chunk = chunk_of_text(kind, b"Raw profile type exif", hexadecimal)
    for where in ("before", "after"):
        data = png(2, 1, b"\0" + bytes((10, 250)), **{where: [chunk]})
        assert decode_image(data, InputSpec(1, 2, 1)).ravel().tolist() == [250, 10]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [4, 64])
def test_a_lab_tiff_is_read_whatever_the_input(channels: int, side: int) -> None:
    """It was read in colour and called damaged in grey, and so in all of training."""
    data = encode(Image.merge("LAB", [Image.new("L", (64, 64), level) for level in (128, 128, 128)]), "TIFF")
    assert np.abs(decode_image(data, InputSpec(side, side, channels)).astype(int) - 119).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [4, 64])
def test_a_lossless_jpeg_is_read_whatever_the_input(channels: int, side: int) -> None:
    """It cannot be scaled while it is decoded, and was called damaged where a small image was wanted."""
    pixels = smooth(64, 64)[:, :, 0]
    data = lossless_jpeg(pixels)
    full = decode_image(data, InputSpec(64, 64, 1))
    np.testing.assert_array_equal(full[:, :, 0], pixels)
    spec = InputSpec(side, side, channels)
    np.testing.assert_array_equal(decode_image(data, spec), decode_image(encode(pixels), spec))


def deep_png(samples: list[tuple[int, ...]], key: tuple[int, ...]) -> bytes:
    """A row of 16-bit samples, one colour of which is transparent."""
    rows = b"\0" + b"".join(struct.pack(f">{len(sample)}H", *sample) for sample in samples)
    transparent = (b"tRNS", struct.pack(f">{len(key)}H", *key))
    return png(len(samples), 1, rows, depth=16, colour=2 if len(key) == 3 else 0, before=[transparent])


def test_one_transparent_colour_of_16_bits_lies_on_white_and_no_other_does() -> None:
    """Its lower bytes count: the other colours here are the same in 8 bits."""
    key = (0x1234, 0x8000, 0x0001)
    samples = [key, (0x1235, 0x8000, 0x0001), (0x1234, 0x8001, 0x0001), (0x1234, 0x8000, 0x0000)]
    got = decode_image(deep_png(samples, key), InputSpec(1, 4, 3))[0].tolist()
    assert got == [[255, 255, 255], *[[0x12, 0x80, 0]] * 3]


def test_one_transparent_grey_of_16_bits_lies_on_white_and_no_other_does() -> None:
    got = decode_image(deep_png([(0x1234,), (0x1235,), (0,), (0xFFFF,)], (0x1234,)), InputSpec(1, 4, 3))
    assert got[0, :, 0].tolist() == [255, 0x12, 0, 255]


@pytest.mark.parametrize(("depth", "row", "scale"), [(2, 0b00011011, 85), (4, 0x01, 17)])
def test_one_transparent_grey_of_few_bits_lies_on_white(depth: int, row: int, scale: int) -> None:
    data = png(8 // depth, 1, bytes((0, row)), depth=depth, before=[(b"tRNS", b"\0\1")])
    got = decode_image(data, InputSpec(1, 8 // depth, 1)).ravel().tolist()
    assert got == {2: [0, 255, 2 * scale, 255], 4: [0, 255]}[depth]


def test_libtiff_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Its errors went to the terminal, once for each strip, whatever Python does with its own."""
    data = bytearray(encode(smooth(HEIGHT, WIDTH), "TIFF", compression="tiff_adobe_deflate"))
    data[40:60] = b"\xff" * 20
    with pytest.raises(BadImage):
        decode_image(bytes(data), COLOUR)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_floating_point_samples_are_refused_since_their_range_is_unknown() -> None:
    with pytest.raises(BadImage, match="floating-point samples") as caught:
        decode_image(encode(Image.new("F", (8, 8), 0.5), "TIFF"), GREY)
    assert caught.value.code == "image_mode_unsupported"


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_turned_image_is_put_upright(kind: str, orientation: int) -> None:
    upright = noise(HEIGHT, WIDTH, 3)
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode_image(encode_turned(upright, orientation, kind, **options), COLOUR), upright)


@pytest.mark.parametrize("orientation", UNDO)
def test_a_turned_jpeg_is_put_upright(orientation: int) -> None:
    data = encode_turned(smooth(HEIGHT, WIDTH), orientation, "JPEG")
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_image(data, COLOUR), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow says so, and goes on
@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"no EXIF at all", b"Exif\0\0II*\0\x08"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_block_costs_only_the_orientation(kind: str, exif: bytes) -> None:
    pixels = smooth(HEIGHT, WIDTH)
    plain, broken = encode(pixels, kind), encode(pixels, kind, exif=exif)
    assert len(broken) > len(plain)
    np.testing.assert_array_equal(decode_image(broken, COLOUR), decode_image(plain, COLOUR))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise(HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(decode_image(encode(pixels, "PNG", exif=exif), COLOUR), pixels)


def test_many_threads_get_what_one_gets() -> None:
    files = [encode(smooth(HEIGHT, WIDTH, seed=i), kind) for i in range(8) for kind in ("JPEG", "PNG", "WEBP")]
    alone = [decode_image(data, COLOUR) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode_image(data, COLOUR), files))
    np.testing.assert_array_equal(together, alone)


def test_only_a_small_png_is_tiny() -> None:
    tiny = encode(noise(28, 28))
    assert is_tiny(tiny)
    assert is_tiny(encode(noise(32, 32, 3)))
    assert not is_tiny(encode(np.zeros((65, 64), np.uint8)))  # few bytes, and too many pixels
    assert not is_tiny(encode(noise(28, 28, 3), "JPEG"))
    assert not is_tiny(tiny[:18])
    assert not is_tiny(b"")


def test_a_small_png_with_a_second_larger_header_is_not_tiny() -> None:
    tiny = encode(noise(28, 28))
    header, rest = tiny[8:33], tiny[33:]
    assert not is_tiny(tiny[:8] + header + header[:8] + struct.pack(">II", 5500, 5500) + header[16:] + rest)
