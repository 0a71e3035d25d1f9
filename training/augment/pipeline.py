"""Augmentation of whole batches in NumPy, a function of (seed, epoch, image) and of nothing else."""

import numpy as np

from training.augment.colour import change_colours, change_saturation, change_tones
from training.augment.counter_rng import normals, symmetric, uniforms
from training.augment.geometric import CropParams, cut_out, shift, spread, warp
from training.augment.mixup import cutmix, mixup
from training.config.augmentation import Augmentation

MAX_CHANNELS = 3
ASPECTS = (3 / 4, 4 / 3)  # of a random crop, as Szegedy et al. (2014) have it
BASE, COLOUR, VIEW, SATURATION, CUTOUT, MIXING = range(6)  # streams of random numbers


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
        components: `colour_components` of the training images; wanted for `pca_noise` alone.
    """

    def drawn(stream: int, count: int) -> np.ndarray:
        return uniforms(seed, epoch, rows, count, stream=stream).T

    height, width = images.shape[1:3]
    flip, down, right, contrast, brightness = drawn(BASE, 5)
    if augmentation.alternate:
        flip = (uniforms(seed, 0, rows, 5)[:, 0] + epoch / 2) % 1
    mirrored = (flip < 0.5) & augmentation.flip
    down, right = spread(down, augmentation.shift * height), spread(right, augmentation.shift * width)
    if augmentation.rotation or augmentation.min_area < 1:
        tall, wide, angle, below, beside = draw_crops(augmentation, drawn(VIEW, 5))
        down, right = down + below * (1 - tall) * height, right + beside * (1 - wide) * width
        images = warp(images, CropParams(down, right, tall, wide, angle, mirrored), augmentation.edge)
    elif augmentation.flip or augmentation.shift:
        images = shift(images, down, right, mirrored, augmentation.edge)
    if augmentation.contrast or augmentation.brightness:
        images = change_tones(
            images, 1 + symmetric(contrast, augmentation.contrast), symmetric(brightness, augmentation.brightness) * 255
        )
    if augmentation.saturation:
        images = change_saturation(images, 1 + symmetric(drawn(SATURATION, 1)[0], augmentation.saturation))
    if augmentation.pca_noise and components is not None:
        colours = drawn(COLOUR, 2 * MAX_CHANNELS)
        strengths = normals(colours[:MAX_CHANNELS], colours[MAX_CHANNELS:])  # (3, B)
        images = change_colours(images, augmentation.pca_noise * strengths.T[:, : len(components)] @ components)
    if augmentation.cutout:
        side = round(augmentation.cutout * min(height, width))
        tops, lefts = (
            np.floor(u * size) - side // 2 for u, size in zip(drawn(CUTOUT, 2), (height, width), strict=True)
        )
        images = cut_out(images, tops, lefts, side)
    return images


def draw_crops(augmentation: Augmentation, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """(5, B) in [0, 1) -> tall and wide, fractions; angle, radians; where in the room that is left it lies, ± 1/2."""
    areas = augmentation.min_area + numbers[0] * (1 - augmentation.min_area)
    narrowest, widest = np.log(ASPECTS)
    aspects = np.exp(narrowest + numbers[1] * (widest - narrowest)) if augmentation.min_area < 1 else 1.0
    tall, wide = np.minimum(1, np.sqrt(areas / aspects)), np.minimum(1, np.sqrt(areas * aspects))
    angle = np.radians(symmetric(numbers[2], augmentation.rotation))
    return tall, wide, angle, numbers[3] - 0.5, numbers[4] - 0.5


def mix(
    images: np.ndarray, targets: np.ndarray, rows: np.ndarray, *, seed: int, epoch: int, augmentation: Augmentation
) -> tuple[np.ndarray, np.ndarray]:
    """mixup, CutMix or neither, alike for a whole batch: images (B, H, W, C), probabilities (B, num_classes)."""
    numbers = np.random.default_rng((seed, epoch, MIXING, *rows[:1].tolist()))
    if not augmentation.mixup and not augmentation.cutmix:
        return images, targets
    lays_over = bool(augmentation.mixup) and (not augmentation.cutmix or numbers.random() < 0.5)
    alpha = augmentation.mixup if lays_over else augmentation.cutmix
    share = float(numbers.beta(alpha, alpha))
    if lays_over:
        return mixup(images, targets, share)
    return cutmix(images, targets, share, (numbers.random(), numbers.random()))
