"""The order of an epoch is a function of (seed, epoch)."""

import numpy as np
import pytest

from tests.training.decoded import decoded_images
from training.augment.loader import TrainingBatches
from training.config.augmentation import Augmentation

NOTHING = Augmentation(flip=False, shift=0, contrast=0, brightness=0)
COUNTED = decoded_images(np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), np.arange(100) % 3)


def training_batches(*, rows: np.ndarray | None = None, batch_size: int = 8, seed: int = 0) -> TrainingBatches:
    rows = np.arange(100) if rows is None else rows
    return TrainingBatches(COUNTED, rows, batch_size=batch_size, seed=seed, augmentation=NOTHING)


def rows_of(batches: TrainingBatches, epoch: int = 0) -> list[int]:
    """Every row of an epoch in order; each image is its row."""
    return np.concatenate([images.ravel() for images, _ in batches.rest_of_epoch(epoch)]).tolist()


def test_an_epoch_has_whole_batches_of_images_each_at_most_once() -> None:
    batches = training_batches()
    assert len(batches) == 12
    assert [len(images) for images, _ in batches.rest_of_epoch(0)] == [8] * 12
    assert len(set(rows_of(batches))) == 96


def test_labels_go_with_their_images() -> None:
    images, labels = training_batches().batch(0, 3)
    np.testing.assert_array_equal(labels, COUNTED.labels[images.ravel()])


def test_the_order_is_another_each_epoch_and_the_same_for_the_same_seed() -> None:
    one, other = training_batches(), training_batches()
    epochs = [rows_of(one, epoch) for epoch in range(3)]
    assert len(set(map(tuple, epochs))) == 3
    assert [rows_of(other, epoch) for epoch in range(3)] == epochs
    assert rows_of(training_batches(seed=1)) != epochs[0]


def test_the_rest_of_an_epoch_is_what_its_end_would_have_been() -> None:
    batches = training_batches()
    whole = [images.tobytes() for images, _ in batches.rest_of_epoch(3)]
    assert [images.tobytes() for images, _ in training_batches().rest_of_epoch(3, 7)] == whole[7:]
    assert list(batches.rest_of_epoch(3, 12)) == []


def test_the_images_left_over_are_others_each_epoch() -> None:
    batches = training_batches()
    left_over = [frozenset(range(100)) - set(rows_of(batches, epoch)) for epoch in range(3)]
    assert len(set(left_over)) == 3


def test_only_the_rows_of_the_split_are_shown() -> None:
    assert set(rows_of(training_batches(rows=np.arange(40, 60)))) <= set(range(40, 60))


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_images_than_a_batch_are_one_batch(count: int) -> None:
    batches = training_batches(rows=np.arange(count), batch_size=64)
    assert sorted(rows_of(batches)) == list(range(count))


def test_mixed_images_come_with_probabilities() -> None:
    augmentation = Augmentation(flip=False, shift=0, contrast=0, brightness=0, mixup=1)
    batches = TrainingBatches(COUNTED, np.arange(100), batch_size=8, seed=0, augmentation=augmentation)
    _, targets = batches.batch(0, 0)
    assert (targets.shape, targets.dtype) == ((8, 3), np.float32)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert ((targets > 0) & (targets < 1)).any()
