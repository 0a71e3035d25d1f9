"""Random numbers that are a function of (seed, epoch, image) alone, so that any position can be redone."""

import numpy as np


def uniforms(seed: int, epoch: int, rows: np.ndarray, count: int, *, stream: int = 0) -> np.ndarray:
    """float64 (B, count) in [0, 1): SplitMix64 (Steele et al., 2014) of (seed, epoch, stream, row, position).

    Args:
        stream: what they are drawn for; the numbers of one purpose do not depend on whether another draws any.
    """
    state = mix(mix(np.array([seed], np.uint64)) ^ np.array([epoch], np.uint64))
    if stream:
        state = mix(state ^ np.array([stream << 32], np.uint64))
    counters = rows.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(count, dtype=np.uint64)
    return (mix(state + counters * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)) * 2.0**-53


def mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def normals(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two uniforms in [0, 1) -> one standard normal (Box and Muller, 1958)."""
    return np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)


def symmetric(uniform: np.ndarray, largest: float) -> np.ndarray:
    """[0, 1) -> ± largest."""
    return (2 * uniform - 1) * largest
