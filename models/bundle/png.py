"""What Pillow's reader of PNG lacks: metadata never make an image unreadable, and the one transparent colour that a
file may name is found in images of 2, 4 and 16 bits a sample too.

Importing this changes how Pillow reads PNG in the whole process, since it has no hook for a reader of one's own.
"""

import contextlib
import io

from PIL import Image, ImageChops, ImageFile, PngImagePlugin

PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
ORIENTATION = {  # where an orientation can be written, by chunk and how that begins
    (b"eXIf", b""),
    *((chunk, b"Raw profile type exif\0") for chunk in (b"tEXt", b"zTXt")),
    (b"iTXt", b"XML:com.adobe.xmp\0"),
}
SCALES = {"L;2": 85, "L;4": 17}  # of samples of 2 and 4 bits, when they are unpacked to 8


class PixelStream(PngImagePlugin.PngStream):
    """The chunks that pixels and their orientation depend on; all others are skipped.

    Pillow unpacks texts and colour profiles too, up to a megabyte each, and refuses the image where one is longer or
    damaged. Here the metadata that may hold an orientation are read within the same limit, and never refuse an image.
    """

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        if cid in PIXELS:
            read: bytes = super().call(cid, pos, length)
            if cid == b"tRNS" and self.im_rawmode in SCALES:
                self.im_info["transparency"] *= SCALES[self.im_rawmode]
            return read
        assert self.fp is not None
        data: bytes = ImageFile._safe_read(self.fp, length)
        if any(cid == chunk and data.startswith(start) for chunk, start in ORIENTATION):
            with contextlib.suppress(ValueError, SyntaxError):
                self.fp.seek(pos)
                super().call(cid, pos, length)
            self.fp.seek(pos + length)
        return data


PngImagePlugin.PngStream = PixelStream  # type: ignore[misc]


def has_16bit_transparent_colour(image: Image.Image) -> bool:
    """Whether one colour of 16 bits a channel is transparent; of an image that is not loaded yet."""
    if not isinstance(image, PngImagePlugin.PngImageFile) or "transparency" not in image.info:
        return False
    return [tile.args for tile in image.tile] == ["RGB;16B"]


def paint_transparent_colour_white(image: Image.Image, data: bytes) -> None:
    """Paint the transparent colour white where it is in a loaded image, of which Pillow keeps the upper 8 bits only.

    The lower ones decide too, so the file is decoded once more, as if its bytes were in the other order.
    """
    key = image.info.pop("transparency")
    with Image.open(io.BytesIO(data), formats=["PNG"]) as lower:
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        bands = [*image.split(), *lower.split()]
    wanted = [*(value >> 8 for value in key), *(value & 255 for value in key)]
    mask = Image.new("L", image.size, "white")
    for band, value in zip(bands, wanted, strict=True):
        mask = ImageChops.darker(mask, band.point([255 * (i == value) for i in range(256)]))
    image.paste("white", mask=mask)
