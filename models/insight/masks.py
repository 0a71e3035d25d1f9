"""Random masks: how much a network needs each region, found by covering others.

RISE (Petsiuk et al., 2018, https://arxiv.org/abs/1806.07421): of many images that are covered at random, those that
keep what speaks for a class have the higher probability of it.
"""

import numpy as np

CELLS = 7  # of a mask along each side, before it is enlarged
KEPT = 0.5  # probability that a cell stays uncovered


def random_masks(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """float32 (count, height, width), 1 where the image stays and 0 where it is covered.

    Cells are enlarged bilinearly, and moved by a random part of a cell.
    """
    drawn = np.random.default_rng(seed)
    cells = (drawn.random((count, CELLS + 1, CELLS + 1)) < KEPT).astype(np.float32)
    rows = places(height, drawn.random(count, dtype=np.float32))
    columns = places(width, drawn.random(count, dtype=np.float32))
    enlarged = np.matmul(weights(rows), cells)
    return np.matmul(enlarged, weights(columns).transpose(0, 2, 1))


def places(side: int, moved: np.ndarray) -> np.ndarray:
    """Where the pixels of a side are among the cells, float32 (count, side) from 0 to CELLS."""
    return (np.arange(side, dtype=np.float32)[None] + 0.5) / side * (CELLS - 1) + moved[:, None]


def weights(at: np.ndarray) -> np.ndarray:
    """Linear interpolation between cells, float32 (count, side, CELLS + 1)."""
    return np.maximum(0, 1 - np.abs(at[:, :, None] - np.arange(CELLS + 1, dtype=np.float32)))


def cover(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """uint8 (count, H, W, C): what a mask covers has the image's mean colour."""
    colour = image.reshape(-1, image.shape[-1]).mean(axis=0, dtype=np.float32)
    return (colour + masks[..., None] * (image.astype(np.float32) - colour) + 0.5).astype(np.uint8)
