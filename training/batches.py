"""Batches for Keras: the order of an epoch is a function of (seed, epoch), and nothing is copied but the batch."""

import keras
import numpy as np

from training.augment import Augmentation, augment, mix
from training.cache import DecodedImages
from training.tones import sampled_components


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, augmented batches of one size; the few images left over each epoch are others the next."""

    def __init__(
        self,
        decoded: DecodedImages,
        rows: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
    ) -> None:
        super().__init__()
        self._decoded = decoded
        self._rows = rows
        self._batch_size = min(batch_size, len(rows))
        self._seed = seed
        self._augmentation = augmentation
        self._components = sampled_components(decoded.images, rows) if augmentation.colour else None
        self._next_epoch = 0
        self._start_epoch(0)  # Keras looks at two batches before it begins

    def __len__(self) -> int:
        return len(self._rows) // self._batch_size

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """uint8 images (B, H, W, C), int64 labels (B,); or float32 targets (B, num_classes) where images are mixed."""
        rows, labels = self.rows(step), self._decoded.labels
        seed, epoch, augmentation = self._seed, self.epoch, self._augmentation
        images = self._decoded.images[rows]
        images = augment(images, rows, seed=seed, epoch=epoch, augmentation=augmentation, components=self._components)
        if augmentation.mixup or augmentation.cutmix:
            targets = np.eye(len(self._decoded.class_names), dtype=np.float32)[labels[rows]]
            return mix(images, targets, rows, seed=seed, epoch=epoch, augmentation=augmentation)
        return images, labels[rows]

    def rows(self, step: int) -> np.ndarray:
        """Which images a batch of this epoch has."""
        return self._order[step * self._batch_size : (step + 1) * self._batch_size]

    def on_epoch_begin(self) -> None:  # not on_epoch_end, which Keras also calls before the first epoch
        self._start_epoch(self._next_epoch)
        self._next_epoch += 1

    def _start_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self._order = np.random.default_rng((self._seed, epoch)).permutation(self._rows)


class PlainBatches(keras.utils.PyDataset):
    """Every image once, in order, as it is."""

    def __init__(self, decoded: DecodedImages, rows: np.ndarray, *, batch_size: int) -> None:
        super().__init__()
        self._decoded = decoded
        self._rows = rows
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows[step * self._batch_size : (step + 1) * self._batch_size]
        return self._decoded.images[rows], self._decoded.labels[rows]
