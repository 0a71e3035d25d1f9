"""Augmentation of whole batches in NumPy, a function of (seed, epoch, image) and of nothing else."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a training image may be changed; zero or False switches a kind off.

    Attributes:
        flip: mirror left to right with probability 1/2.
        shift: move by up to this fraction of height and width; what comes in at the edge is the mirrored image.
        contrast: scale the distance from the image's mean by a factor in 1 ± contrast.
        brightness: add up to ± this fraction of the full range.
    """

    flip: bool = True
    shift: float = 0.1
    contrast: float = 0.2
    brightness: float = 0.1


def augment(images: np.ndarray, rows: np.ndarray, *, seed: int, epoch: int, augmentation: Augmentation) -> np.ndarray:
    """uint8 (B, H, W, C) -> uint8 (B, H, W, C), each image by its own random numbers.

    Args:
        rows: int64 (B,), which image of the data set each one is.
    """
    flip, down, right, contrast, brightness = uniforms(seed, epoch, rows, 5).T
    height, width = images.shape[1:3]
    if augmentation.flip or augmentation.shift:
        ys = mirrored_indices(height, spread(down, augmentation.shift * height))  # (B, H)
        xs = mirrored_indices(width, spread(right, augmentation.shift * width))  # (B, W)
        if augmentation.flip:
            xs = np.where((flip < 0.5)[:, None], xs[:, ::-1], xs)
        images = images[np.arange(len(images))[:, None, None], ys[:, :, None], xs[:, None, :]]
    if augmentation.contrast or augmentation.brightness:
        images = change_tones(
            images,
            1 + (2 * contrast - 1) * augmentation.contrast,
            (2 * brightness - 1) * augmentation.brightness * 255,
        )
    return images


def change_tones(images: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Contrast about each image's own mean, then brightness: factors and offsets (B,)."""
    means = images.mean(axis=(1, 2, 3))
    shape = (-1, 1, 1, 1)
    tones = images * factors.astype(np.float32).reshape(shape)
    tones += (means * (1 - factors) + offsets).astype(np.float32).reshape(shape)
    return np.rint(np.clip(tones, 0, 255, out=tones), out=tones).astype(np.uint8)


def spread(uniform: np.ndarray, largest: float) -> np.ndarray:
    """[0, 1) -> whole pixels in ± largest, each as likely."""
    whole = int(largest)
    return np.floor(uniform * (2 * whole + 1)).astype(np.int64) - whole


def mirrored_indices(size: int, shifts: np.ndarray) -> np.ndarray:
    """Indices 0 .. size - 1 moved by each shift (B,), reflected at both ends: (B, size)."""
    moved = np.abs(np.arange(size) + shifts[:, None])
    return np.where(moved < size, moved, 2 * (size - 1) - moved)


def uniforms(seed: int, epoch: int, rows: np.ndarray, count: int) -> np.ndarray:
    """float64 (B, count) in [0, 1): SplitMix64 (Steele et al., 2014) of (seed, epoch, row, position)."""
    state = mix(mix(np.array([seed], np.uint64)) ^ np.array([epoch], np.uint64))
    counters = rows.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(count, dtype=np.uint64)
    return (mix(state + counters * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)) * 2.0**-53


def mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
