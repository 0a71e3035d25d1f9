"""Two images in one, with both their labels.

mixup (Zhang et al., 2017, https://arxiv.org/abs/1710.09412) lays one over the other, CutMix (Yun et al., 2019,
https://arxiv.org/abs/1905.04899) puts a piece of one into the other. An image's partner is its neighbour in the batch.
"""

import numpy as np

from training.augment.colour import rounded


def mixup(images: np.ndarray, targets: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (B, H, W, C) and probabilities (B, num_classes), each by `share` and its partner by the rest."""
    mixed = images * np.float32(share) + partners(images) * np.float32(1 - share)
    return rounded(mixed), targets * np.float32(share) + partners(targets) * np.float32(1 - share)


def cutmix(
    images: np.ndarray, targets: np.ndarray, share: float, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Put a box of the partner's at the same place; labels share by the pixels that are left.

    Args:
        share: fraction of the image that is kept if the box lies fully inside the image.
        centre: of the box, down and right, in [0, 1).
    """
    height, width = images.shape[1:3]
    side = np.sqrt(1 - share)
    top, bottom = ((np.array([-0.5, 0.5]) * side + centre[0]) * height).round().clip(0, height).astype(int)
    left, right = ((np.array([-0.5, 0.5]) * side + centre[1]) * width).round().clip(0, width).astype(int)
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = partners(images)[:, top:bottom, left:right]
    kept = np.float32(1 - (bottom - top) * (right - left) / (height * width))
    return mixed, targets * kept + partners(targets) * (1 - kept)


def partners(batch: np.ndarray) -> np.ndarray:
    return np.roll(batch, 1, axis=0)
