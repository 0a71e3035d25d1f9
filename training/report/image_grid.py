"""Many small pictures on one sheet, in titled rows."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 56  # pixels of the side of one picture
GAP = 4
COLUMNS = 16
MARGIN = 16
TITLE = 26  # pixels of a line of text
BACKGROUND, INK = (255, 255, 255), (30, 30, 30)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[:, :, :3]


def sheet(
    sections: list[tuple[str, list[np.ndarray]]], *, columns: int = COLUMNS, tile_side: int = TILE
) -> Image.Image:
    """Titled rows of uint8 (h, w, 3) tiles under one another."""
    rows = [-(-len(tiles) // columns) for _, tiles in sections]
    step = tile_side + GAP
    height = 2 * MARGIN + sum(TITLE + count * step + MARGIN for count in rows)
    picture = Image.new("RGB", (2 * MARGIN + columns * step, height), BACKGROUND)
    pen, font, y = ImageDraw.Draw(picture), ImageFont.load_default(15), MARGIN
    for (title, tiles), count in zip(sections, rows, strict=True):
        pen.text((MARGIN, y), title, fill=INK, font=font)
        for i, tile in enumerate(tiles):
            row, column = divmod(i, columns)
            picture.paste(fitted(Image.fromarray(tile), tile_side), (MARGIN + column * step, y + TITLE + row * step))
        y += TITLE + count * step + MARGIN
    return picture


def fitted(tile: Image.Image, side: int) -> Image.Image:
    """As large as a tile may be, in its own proportions; what is enlarged keeps its pixels."""
    scale = side / max(tile.size)
    size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
    return tile.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
