"""Batches: their images, order and changes are a function of (seed, epoch, step); nothing is copied but the batch."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from training.augment.colour import sampled_components
from training.augment.pipeline import augment, mix
from training.config.augmentation import Augmentation
from training.data.decoded import DecodedImages

Inputs: TypeAlias = np.ndarray | list[np.ndarray]  # images, or what a frozen part of the network makes of them
Batch: TypeAlias = tuple[Inputs, np.ndarray]  # with labels, or with targets
AHEAD = 2  # batches that are made while the network computes


class TrainingBatches:
    """Shuffled, augmented batches of one size; images that do not fill a batch are dropped, other ones in each epoch.

    Args:
        rows: int64 (N,), of the images to train on.
        resting: those of `rows` that are left out from the epoch `rest_from` on.

    Attributes:
        frozen: what each batch of images goes through last, where a part of the network is not trained.
    """

    def __init__(
        self,
        decoded: DecodedImages,
        rows: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        resting: np.ndarray | None = None,
        rest_from: int = 0,
    ) -> None:
        self._decoded = decoded
        self._rows = rows
        self._awake = rows if resting is None else np.setdiff1d(rows, resting)
        self._rest_from = rest_from
        self.batch_size = min(batch_size, len(self._awake))
        self._seed = seed
        self._augmentation = augmentation
        self._components = sampled_components(decoded.images, rows) if augmentation.pca_noise else None
        self.frozen: Callable[[np.ndarray], Inputs] = lambda images: images
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self._awake) // self.batch_size

    def batch(self, epoch: int, step: int) -> Batch:
        """uint8 images (B, H, W, C), or what `frozen` makes of them; int64 labels (B,), or float32 targets
        (B, num_classes) where images are mixed.
        """
        rows, labels = self.rows(epoch, step), self._decoded.labels
        seed, augmentation = self._seed, self._augmentation
        images = self._decoded.images[rows]
        images = augment(images, rows, seed=seed, epoch=epoch, augmentation=augmentation, components=self._components)
        if augmentation.mixup or augmentation.cutmix:
            targets = np.eye(len(self._decoded.class_names), dtype=np.float32)[labels[rows]]
            images, targets = mix(images, targets, rows, seed=seed, epoch=epoch, augmentation=augmentation)
            return self.frozen(images), targets
        return self.frozen(images), labels[rows]

    def rows(self, epoch: int, step: int) -> np.ndarray:
        """Which images a batch has."""
        return self._order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]

    def rest_of_epoch(self, epoch: int, step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from this step on, made in a thread of their own."""
        steps = range(step, len(self))
        with ThreadPoolExecutor(1) as thread:
            waiting = [thread.submit(self.batch, epoch, i) for i in steps[:AHEAD]]
            for i in steps:
                batch = waiting.pop(0).result()
                if i + AHEAD < len(self):
                    waiting.append(thread.submit(self.batch, epoch, i + AHEAD))
                yield batch

    def _draw_order(self, epoch: int) -> np.ndarray:
        rows = self._awake if epoch >= self._rest_from else self._rows
        return np.random.default_rng((self._seed, epoch)).permutation(rows)
