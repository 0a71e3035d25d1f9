"""The picture as the network saw it, in grey, and over it in colours where it looked."""

import io

import numpy as np
from PIL import Image

from models.insight.explanation import resized

# Matplotlib's `inferno` at five places: it becomes brighter all the way, also for those who see few colours
COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)
PALEST, STRONGEST = 0.25, 0.65  # share of the colour where nothing and where most speaks for the class
SMALLEST = 256  # pixels of the shorter side; smaller pictures are enlarged


def draw(image: np.ndarray, values: np.ndarray) -> bytes:
    """A PNG of at least 256 pixels a side, of what `blend` takes."""
    file = io.BytesIO()
    Image.fromarray(blend(image, values, max(1, -(-SMALLEST // min(image.shape[:2]))))).save(file, "PNG")
    return file.getvalue()


def blend(image: np.ndarray, values: np.ndarray, scale: int = 1) -> np.ndarray:
    """uint8 (scale * H, scale * W, 3).

    Args:
        image: uint8 (H, W, C).
        values: the map, float32 (h, w); what speaks against the class is shown as nothing.
    """
    height, width = image.shape[0] * scale, image.shape[1] * scale
    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).convert("L").convert("RGB")
    picture = picture.resize((width, height), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC)
    positive = np.maximum(0, values)
    strength = resized(positive / max(float(positive.max()), 1e-12), height, width)[..., None]
    steps = np.arange(len(COLOURS))
    colours = np.stack([np.interp(strength[..., 0] * steps[-1], steps, COLOURS[:, i]) for i in range(3)], axis=-1)
    share = PALEST + (STRONGEST - PALEST) * strength
    blended = (1 - share) * np.asarray(picture, np.float32) + share * colours
    found: np.ndarray = (blended + 0.5).astype(np.uint8)
    return found
