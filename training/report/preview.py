"""What a network will see: images as they are, and as augmentation shows them in the first epochs."""

import numpy as np
from PIL import Image

from training.augment.colour import sampled_components
from training.augment.pipeline import augment, mix
from training.config.augmentation import Augmentation
from training.data.decoded import DecodedImages
from training.report.image_grid import as_rgb, sheet

NUM_IMAGES = 8
NUM_EPOCHS = 8
TILE = 96  # pixels


def draw_preview(decoded: DecodedImages, augmentation: Augmentation, *, seed: int = 0) -> Image.Image:
    """A row an image: as it is, then as in epochs 1 to 8."""
    rows = some_of_each_class(decoded.labels)
    images, num_classes = decoded.images[rows], len(decoded.class_names)
    components = sampled_components(decoded.images, np.arange(len(decoded.images))) if augmentation.pca_noise else None
    tiles = [[as_rgb(image)] for image in images]
    for epoch in range(NUM_EPOCHS):
        changed = augment(images, rows, seed=seed, epoch=epoch, augmentation=augmentation, components=components)
        targets = np.eye(num_classes, dtype=np.float32)[decoded.labels[rows]]
        changed, _ = mix(changed, targets, rows, seed=seed, epoch=epoch, augmentation=augmentation)
        for row, image in zip(tiles, changed, strict=True):
            row.append(as_rgb(image))
    titles = [f"{decoded.class_names[decoded.labels[row]]}: {decoded.paths[row]}" for row in rows]
    return sheet(list(zip(titles, tiles, strict=True)), columns=1 + NUM_EPOCHS, tile_side=TILE)


def some_of_each_class(labels: np.ndarray) -> np.ndarray:
    """Rows of eight images, of as many classes as there are, up to eight."""
    _, first = np.unique(labels, return_index=True)
    others = np.setdiff1d(np.arange(len(labels)), first)
    spread = others[:: 1 + len(others) // NUM_IMAGES]
    return np.sort(np.concatenate([first[:NUM_IMAGES], spread])[:NUM_IMAGES])
