"""Images that cost what real ones cost: a JPEG with the spectrum of photographs, a PNG like a written digit."""

import io

import numpy as np
from PIL import Image


def photograph(width: int, height: int, *, seed: int, quality: int = 85) -> bytes:
    """An RGB JPEG whose amplitudes fall as 1/frequency, as those of photographs do (Field, 1987)."""
    generator = np.random.default_rng(seed)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequencies[0, 0] = 1
    planes = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * generator.random(frequencies.shape))
        plane = np.fft.irfft2(phases / frequencies, s=(height, width))
        planes.append((plane - plane.mean()) / plane.std())
    luma, *chroma = planes
    pixels = np.stack([luma + 0.3 * c for c in (chroma[0], -chroma[0] - chroma[1], chroma[1])], axis=-1)
    file = io.BytesIO()
    Image.fromarray(np.clip(128 + 50 * pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def digit() -> bytes:
    """A grey 28x28 PNG: a soft ring, as a written 0."""
    y, x = np.mgrid[-14:14, -14:14] + 0.5
    ring = np.exp(-((np.hypot(1.3 * x, y) - 8) ** 2) / 4)
    file = io.BytesIO()
    Image.fromarray((255 * ring).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
