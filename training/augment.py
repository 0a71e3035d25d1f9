"""Augmentation of whole batches in NumPy, a function of (seed, epoch, image) and of nothing else."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Edge = Literal["mirror", "grey"]
MID_GREY = 128
MAX_CHANNELS = 3
PIXEL_STEP = 4  # every fourth of a row and a column tells enough of the colours


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a training image may be changed; zero or False switches a kind off.

    Attributes:
        flip: mirror left to right with probability 1/2.
        shift: move by up to this fraction of height and width.
        edge: what comes in at the edge: the mirrored image, or mid-grey, which is 0 to a network.
        contrast: scale the distance from the image's mean by a factor in 1 ± contrast.
        brightness: add up to ± this fraction of the full range.
        colour: standard deviation of the noise along each principal component of the training pixels, as a multiple of
            theirs (section 4.1 of Krizhevsky et al., 2012, has 0.1).
    """

    flip: bool = True
    shift: float = 0.1
    edge: Edge = "mirror"
    contrast: float = 0.2
    brightness: float = 0.1
    colour: float = 0.0


def augment(
    images: np.ndarray,
    rows: np.ndarray,
    *,
    seed: int,
    epoch: int,
    augmentation: Augmentation,
    components: np.ndarray | None = None,
) -> np.ndarray:
    """uint8 (B, H, W, C) -> uint8 (B, H, W, C), each image by its own random numbers.

    Args:
        rows: int64 (B,), which image of the data set each one is.
        components: `colour_components` of the training images; wanted for `colour` alone.
    """
    wanted = 5 + (2 * MAX_CHANNELS if augmentation.colour else 0)
    flip, down, right, contrast, brightness, *colours = uniforms(seed, epoch, rows, wanted).T
    if augmentation.flip or augmentation.shift:
        images = move(
            images,
            spread(down, augmentation.shift * images.shape[1]),
            spread(right, augmentation.shift * images.shape[2]),
            (flip < 0.5) & augmentation.flip,
            augmentation.edge,
        )
    if augmentation.contrast or augmentation.brightness:
        images = change_tones(
            images,
            1 + (2 * contrast - 1) * augmentation.contrast,
            (2 * brightness - 1) * augmentation.brightness * 255,
        )
    if augmentation.colour and components is not None:
        strengths = normals(np.stack(colours[:MAX_CHANNELS]), np.stack(colours[MAX_CHANNELS:]))  # (3, B)
        images = change_colours(images, augmentation.colour * strengths.T[:, : len(components)] @ components)
    return images


def move(images: np.ndarray, down: np.ndarray, right: np.ndarray, mirrored: np.ndarray, edge: Edge) -> np.ndarray:
    """Shift each image by whole pixels (B,), then mirror those that are chosen (B,)."""
    height, width = images.shape[1:3]
    ys, xs = np.arange(height) + down[:, None], np.arange(width) + right[:, None]  # (B, H), (B, W)
    xs = np.where(mirrored[:, None], xs[:, ::-1], xs)
    inside_y, inside_x = reflected(ys, height), reflected(xs, width)
    moved = images[np.arange(len(images))[:, None, None], inside_y[:, :, None], inside_x[:, None, :]]
    if edge == "grey":
        moved[(inside_y != ys)[:, :, None] | (inside_x != xs)[:, None, :]] = MID_GREY
    return moved


def change_tones(images: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Contrast about each image's own mean, then brightness: factors and offsets (B,)."""
    means = images.mean(axis=(1, 2, 3))
    shape = (-1, 1, 1, 1)
    tones = images * factors.astype(np.float32).reshape(shape)
    tones += (means * (1 - factors) + offsets).astype(np.float32).reshape(shape)
    return np.rint(np.clip(tones, 0, 255, out=tones), out=tones).astype(np.uint8)


def change_colours(images: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Add to every pixel of an image the same colour: offsets (B, C)."""
    return np.rint(np.clip(images + offsets.astype(np.float32)[:, None, None, :], 0, 255)).astype(np.uint8)


def colour_components(images: np.ndarray) -> np.ndarray:
    """Principal components of the pixels of uint8 images (B, H, W, C), each as long as its deviation: (C, C), rows.

    Section 4.1 of Krizhevsky et al. has the variance where this has the deviation, which alone is a number of pixels.
    """
    images, channels = images[:, ::PIXEL_STEP, ::PIXEL_STEP], images.shape[-1]
    variances, directions = np.linalg.eigh(np.cov(images.reshape(-1, channels), rowvar=False).reshape(channels, -1))
    return (directions * np.sqrt(np.maximum(variances, 0))).T


def spread(uniform: np.ndarray, largest: float) -> np.ndarray:
    """[0, 1) -> whole pixels in ± largest, each as likely."""
    whole = int(largest)
    return np.floor(uniform * (2 * whole + 1)).astype(np.int64) - whole


def reflected(indices: np.ndarray, size: int) -> np.ndarray:
    """Indices past either end, by less than a size, turned back at it."""
    indices = np.abs(indices)
    return np.where(indices < size, indices, 2 * (size - 1) - indices)


def normals(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two uniforms in [0, 1) -> one standard normal (Box and Muller, 1958)."""
    return np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)


def uniforms(seed: int, epoch: int, rows: np.ndarray, count: int) -> np.ndarray:
    """float64 (B, count) in [0, 1): SplitMix64 (Steele et al., 2014) of (seed, epoch, row, position)."""
    state = mix(mix(np.array([seed], np.uint64)) ^ np.array([epoch], np.uint64))
    counters = rows.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(count, dtype=np.uint64)
    return (mix(state + counters * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)) * 2.0**-53


def mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
