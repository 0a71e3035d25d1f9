"""Encoded image -> uint8 (H, W, C): the only decoder, so that training and service cannot drift apart.

Formats are an explicit list, because Pillow registers dozens and each is a parser that strangers can reach.
Rules: EXIF orientation is applied; transparency is laid over white; CMYK, LAB and palettes become RGB; 16-bit
samples are scaled to 8 and not clipped; of an animation the first frame counts; ICC profiles and texts are ignored.
"""

import io
import math
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from models.bundle import libtiff
from models.bundle.cost import find_excess
from models.bundle.jpeg import read_frame
from models.bundle.png import has_16bit_transparent_colour, paint_transparent_colour_white
from models.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # APNG is PNG to Pillow
MAX_PIXELS = 40_000_000  # checked on the header; Pillow's own limit would allow 179 million
# A baseline JPEG may have so many times as many pixels, since it is scaled while it is decoded: 200 million take 0.3 s
# and 15 MB, where 40 million of a progressive JPEG take 0.4 s and 118 MB, and of a PNG 1.1 s and 158 MB.
STREAMED = 5
LIGHT_PIXELS = 6_000_000  # of a PNG take about 0.15 s; a streamed JPEG has no such limit
BAND_ROWS = 256  # that are laid over white at once
ORIENTATION = ExifTags.Base.Orientation
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF tags

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # width and height follow
TINY_BYTES, TINY_PIXELS = 4096, 64 * 64

DECODER = 3  # raise it whenever the same bytes come to give other pixels: what was decoded before is then stale

Resize = Literal["squash", "crop", "pad"]

Image.MAX_IMAGE_PIXELS = None  # ours is stricter and does not warn
warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd files, which strangers send; what matters raises
libtiff.silence()


class BadImage(UserError):
    """These bytes are no image that we read; `code` says in one word why, the message in a sentence.

    Codes: `image_invalid`, `image_format_unsupported`, `image_too_many_pixels`, `image_mode_unsupported`,
    `image_too_costly`.
    """

    def __init__(self, message: str, *, code: str = "image_invalid") -> None:
        super().__init__(message)
        self.code = code


class HeavyImage(Exception):
    """Decoding this image takes long, and it was asked for only if it does not."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a network takes: height and width in pixels, 1 or 3 channels, and how an image gets that size.

    `squash` ignores the aspect ratio; `crop` scales the shorter side and cuts the centre out; `pad` scales the
    longer side and centres the image on black.
    """

    height: int
    width: int
    channels: int
    resize: Resize = "crop"

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1 or self.channels not in (1, 3) or self.resize not in get_args(Resize):
            raise UserError(
                f"No input is {self!r}: height and width are at least 1, channels 1 or 3, "
                f"resize one of {', '.join(get_args(Resize))}."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def decode_image(
    data: bytes,
    spec: InputSpec,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] = FORMATS,
    only_light: bool = False,
) -> np.ndarray:
    """Encoded image -> uint8 (spec.height, spec.width, spec.channels).

    Pure, thread-safe, and holds no lock while it decodes and resizes.

    Args:
        formats: Pillow's names of those that are read; AVIF is read where it is among them.
        only_light: do not decode an image of more than LIGHT_PIXELS.

    Raises:
        BadImage: `data` is no image that we read, has more than `max_pixels` pixels, or would cost too much.
        HeavyImage: with `only_light`.
    """
    return decode_for(data, (spec,), max_pixels=max_pixels, formats=formats, only_light=only_light)[0]


def decode_for(
    data: bytes,
    specs: Sequence[InputSpec],
    *,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] = FORMATS,
    only_light: bool = False,
) -> list[np.ndarray]:
    """`decode_image` for several inputs, of which the first should be the largest: decoded once, resized for each."""
    excess = find_excess(data)
    if excess is not None:
        raise BadImage(
            f"The image has more than {excess.most:,} {excess.what}, which would take long to decode. Save it anew.",
            code="image_too_costly",
        )
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            is_streamed, num_pixels = False, math.prod(decoded_size(image))
            if image.format in ("JPEG", "MPO"):
                is_streamed = draft_within(image, data, specs[0], max_pixels)
            check_pixels(image, max_pixels)
            if only_light and not is_streamed and num_pixels > LIGHT_PIXELS:
                raise HeavyImage
            deep = has_16bit_transparent_colour(image)
            image.load()
            if deep:
                paint_transparent_colour_white(image, data)
            # Only now: a PNG loads itself when asked for its EXIF data. A TIFF is turned by load() already.
            orientation = 1 if image.format == "TIFF" else read_orientation(image)
            upright = transpose(image, orientation)
            return [resize(to_mode(upright, "L" if spec.channels == 1 else "RGB"), spec) for spec in specs]
    except (BadImage, HeavyImage):
        raise
    except Exception as error:  # Pillow raises eight kinds on hostile files, from OSError to SyntaxError
        raise explain(data, error) from error


def suffix_of(data: bytes) -> str:
    """How a file with these bytes should end: ".jpg"; ".image" where its header says nothing."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return SUFFIXES.get(image.format or "", UNKNOWN_SUFFIX)
    except Exception:  # whatever a parser raises; nobody needs the name
        return UNKNOWN_SUFFIX


SUFFIXES = {
    **{"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"},
    **{"GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"},
}
UNKNOWN_SUFFIX = ".image"
ALL_SUFFIXES = (*dict.fromkeys(SUFFIXES.values()), UNKNOWN_SUFFIX)


def is_tiny(data: bytes) -> bool:
    """Whether these bytes are a PNG so small that decoding it takes less time than passing it to a thread."""
    if len(data) > TINY_BYTES or not data.startswith(PNG_START):
        return False
    width, height = struct.unpack(">II", data[len(PNG_START) : len(PNG_START) + 8].ljust(8, b"\xff"))
    return width * height <= TINY_PIXELS and b"IHDR" not in data[len(PNG_START) :]  # of two, Pillow takes the last


def resize(image: Image.Image, spec: InputSpec) -> np.ndarray:
    return np.frombuffer(RESIZERS[spec.resize](image, spec).tobytes(), np.uint8).reshape(spec.shape)


def check_pixels(image: Image.Image, max_pixels: int, *, times: int = 1) -> None:
    width, height = decoded_size(image)
    if width * height > times * max_pixels:
        raise BadImage(
            f"The image has {width}x{height} pixels; at most {max_pixels:,} in all are read, and "
            f"{STREAMED * max_pixels:,} of a baseline JPEG, which is scaled while it is decoded. Send it smaller.",
            code="image_too_many_pixels",
        )


def decoded_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of what is decoded at once: the image, or a TIFF's tile where that is larger."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile = int(image.tag_v2.get(TILE_WIDTH, 0)), int(image.tag_v2.get(TILE_LENGTH, 0))
        return max(image.size, tile, key=math.prod)
    return image.size


def read_orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the EXIF data are broken."""
    if image.format == "PNG" and not image.info:
        return 1  # without looking, which takes as long as it does to unpack a tiny image
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block raises whatever it likes, and costs only the orientation
        return 1


TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def transpose(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TRANSPOSES[orientation]) if orientation in TRANSPOSES else image


def draft_within(image: Image.Image, data: bytes, spec: InputSpec, max_pixels: int) -> bool:
    """Have a JPEG decoded at a fraction, where its kind can be. Returns whether it is streamed (read_frame).

    Raises:
        BadImage: it has more pixels than are read of its kind.
    """
    is_lossless, is_streamed = read_frame(data)
    is_large = math.prod(image.size) > max_pixels
    check_pixels(image, max_pixels, times=STREAMED if is_streamed else 1)
    if not is_lossless:
        draft(image, spec, read_orientation(image), margin=1 if is_large else 2)
    return is_streamed


def draft(image: Image.Image, spec: InputSpec, orientation: int, *, margin: int = 2) -> None:
    """Have libjpeg decode a large photograph at 1/2, 1/4 or 1/8, never below `margin` times the size wanted.

    4000x3000 to 224x224 then costs a fifth. Twice keeps the antialiased resize that follows in charge of
    what the pixels become. Other formats have no such mode, and ignore this.
    """
    height, width = (spec.width, spec.height) if orientation >= 5 else (spec.height, spec.width)
    image.draft(None, (margin * width, margin * height))


def to_mode(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """Any Pillow mode -> 8-bit L or RGB, over white where transparent."""
    if image.mode.startswith("I"):  # I;16, I;16B, I: 16-bit grey, which convert() would clip
        samples = np.asarray(image)
        grey = (np.clip(samples, 0, 65535) >> 8).astype(np.uint8)
        grey[samples == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(grey)
    elif image.mode == "F":
        raise BadImage(
            "The image has floating-point samples, whose range is unknown. Send 8 or 16 bits a sample.",
            code="image_mode_unsupported",
        )
    elif image.has_transparency_data or image.mode in ("PA", "La", "RGBa"):
        image = over_white(image)
    elif image.mode in ("P", "LAB"):
        image = image.convert("RGB")  # on the way to L, too: Pillow does not convert LAB, nor a palette's colours
    return image if image.mode == mode else image.convert(mode)


def over_white(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.replace("a", "A"))
    image = image.convert("RGBA")
    result = Image.new("RGB", image.size)
    for top in range(0, image.height, BAND_ROWS):  # of the whole image three copies would be in memory
        band = image.crop((0, top, image.width, min(top + BAND_ROWS, image.height)))
        result.paste(Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB"), (0, top))
    return result


def squash(image: Image.Image, spec: InputSpec) -> Image.Image:
    size = (spec.width, spec.height)
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def crop(image: Image.Image, spec: InputSpec) -> Image.Image:
    """The centre of the spec's aspect ratio, scaled: one resize from the box of source pixels that shows."""
    scale = min(image.width / spec.width, image.height / spec.height)
    width, height = min(scale * spec.width, image.width), min(scale * spec.height, image.height)  # rounding may exceed
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    size = (spec.width, spec.height)
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR, box=box)


def pad(image: Image.Image, spec: InputSpec) -> Image.Image:
    scale = min(spec.width / image.width, spec.height / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new(image.mode, (spec.width, spec.height))
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(scaled, ((spec.width - width) // 2, (spec.height - height) // 2))
    return canvas


RESIZERS: dict[str, Callable[[Image.Image, InputSpec], Image.Image]] = {"squash": squash, "crop": crop, "pad": pad}


def explain(data: bytes, error: Exception) -> BadImage:
    """What to tell the sender: that there is no image, that its format is not read, or that it is broken."""
    accepted = f"Send {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
    if not data:
        return BadImage(f"There is no image: 0 bytes came. {accepted}")
    foreign = foreign_format(data)
    if foreign:
        return BadImage(f"The image is {foreign}, which is not read. {accepted}", code="image_format_unsupported")
    if isinstance(error, Image.UnidentifiedImageError):
        return BadImage(f"Unrecognized image format ({len(data):,} bytes). {accepted}")
    return BadImage(f"The image is damaged or cut short and could not be decoded. {accepted}")


FOREIGN_MAGIC = (  # (offset, bytes there, what it is)
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  \r\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "PSD"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"<svg", "SVG"),
    (0, b"DDS ", "DDS"),
)


def foreign_format(data: bytes) -> str | None:
    """The name of an image format that we recognise and do not read."""
    for offset, magic, name in FOREIGN_MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return name
    return "SVG" if data[:5] == b"<?xml" and b"<svg" in data[:1000] else None
