"""Contrast, brightness and colours of a batch of images."""

import numpy as np

SAMPLE = 1000  # images whose pixels say which colours vary together
PIXEL_STEP = 4  # every fourth of a row and a column tells enough of the colours
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def change_tones(images: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Contrast about each image's own mean, then brightness: factors and offsets (B,)."""
    shape = (-1, 1, 1, 1)
    tones = images.astype(np.float32)
    factors, means = factors.astype(np.float32), tones.mean(axis=(1, 2, 3))
    tones *= factors.reshape(shape)
    tones += (means * (1 - factors) + offsets.astype(np.float32)).reshape(shape)
    return rounded(tones)


def change_saturation(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Scale each pixel's distance from its grey by (B,); images of one channel have none."""
    if images.shape[-1] == 1:
        return images
    grey = (images @ LUMINANCE)[..., None]
    return rounded(grey + (images - grey) * factors.astype(np.float32).reshape(-1, 1, 1, 1))


def change_colours(images: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Add to every pixel of an image the same colour: offsets (B, C)."""
    return rounded(images + offsets.astype(np.float32)[:, None, None, :])


def colour_components(images: np.ndarray) -> np.ndarray:
    """Principal components of the pixels of uint8 images (B, H, W, C), each as long as its deviation: (C, C), rows.

    Krizhevsky et al. (section 4.1) scale by the variance; this scales by the deviation, whose unit is pixel values.
    """
    images, channels = images[:, ::PIXEL_STEP, ::PIXEL_STEP], images.shape[-1]
    variances, directions = np.linalg.eigh(np.cov(images.reshape(-1, channels), rowvar=False).reshape(channels, -1))
    return (directions * np.sqrt(np.maximum(variances, 0))).T


def sampled_components(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`colour_components` of about a thousand of these rows, evenly spread since they lie by class."""
    return colour_components(images[rows[:: 1 + len(rows) // SAMPLE]])


def rounded(tones: np.ndarray) -> np.ndarray:
    """float32 -> uint8, in place: truncation would darken images."""
    return np.rint(np.clip(tones, 0, 255, out=tones), out=tones).astype(np.uint8)
