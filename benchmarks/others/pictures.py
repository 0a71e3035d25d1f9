"""Pictures of ten kinds, which tell a network's scaling: the kind is a colour, whose order of channels matters, in any
brightness, under noise with the spectrum of photographs. A fourth of them is nothing but noise, to which `import`
compares answers as well: networks that have seen none answer to it with logits so large that rounding is visible.
"""

import colorsys
import io
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.images import photograph

SIDE = 96  # pixels
KINDS = tuple(f"kind {i}" for i in range(10))
COLOURS = np.array([colorsys.hsv_to_rgb(i / len(KINDS), 0.8, 1.0) for i in range(len(KINDS))])


def pictures(count: int, side: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, side, side, 3), and the kind of each, int64 (count,); all kinds are about equally frequent."""
    generator = np.random.default_rng(seed)
    kinds = generator.permutation(np.arange(count) % len(KINDS))
    found = []
    for i, kind in enumerate(kinds):
        texture = np.asarray(Image.open(io.BytesIO(photograph(side, side, seed=1000 * seed + i)))) - 128.0
        brightness = generator.uniform(90, 220)
        picture = brightness * COLOURS[kind] + generator.uniform(0.8, 1.5) * texture
        found.append(np.clip(picture, 0, 255) if i % 4 else generator.integers(0, 256, picture.shape))
    return np.stack(found).astype(np.uint8), kinds


def write_pictures(images: np.ndarray, kinds: np.ndarray, folder: Path) -> None:
    """A folder for each kind."""
    for i, (image, kind) in enumerate(zip(images, kinds, strict=True)):
        path = folder / KINDS[kind] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
