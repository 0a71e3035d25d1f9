import time

import numpy as np
import pytest

from service.engine.batch_sizes import BatchSizes
from service.engine.batcher import Batch, Batcher, Instance, stack
from service.engine.workers import HttpWorker

WORKER = HttpWorker(None, np.array([[[[1], [2]], [[3], [4]]]], np.uint8))  # whose only slot has four pixels


def instance(number: int = 1, *, deaths: int = 0, deadline: float = float("inf")) -> Instance:
    return Instance(WORKER, number, 0, deaths, 0, deadline, time.monotonic())


EVERY_IMAGE_COSTS = {1: 0.010, 2: 0.019, 4: 0.036}  # seconds of a batch, as on a CPU
ALL_THE_SAME = {1: 0.010, 4: 0.011, 16: 0.012}  # as on a GPU that has nothing else to do


def batcher_with(*instances: Instance, seconds=EVERY_IMAGE_COSTS) -> Batcher:
    batcher = Batcher(BatchSizes(seconds, max(seconds)))
    for one in instances:
        batcher.add(one)
    return batcher


def next_ids(batcher: Batcher) -> list[int]:
    batch, _ = batcher.next_batch()
    return [] if batch is None else [instance.id for instance in batch.instances]


def test_a_lone_image_never_waits_for_company():
    batch, expired = batcher_with(instance(1)).next_batch()
    assert batch is not None
    assert [i.id for i in batch.instances] == [1]
    assert not expired


@pytest.mark.parametrize(("waiting", "size"), [(1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (100, 4)])
def test_where_every_image_costs_a_batch_is_the_largest_size_that_is_full(waiting, size):
    batcher = batcher_with(*(instance() for _ in range(waiting)))
    assert len(next_ids(batcher)) == size
    assert len(batcher) == waiting - size


@pytest.mark.parametrize(("waiting", "size", "padded"), [(1, 1, 1), (2, 2, 4), (4, 4, 4), (5, 5, 16), (40, 16, 16)])
def test_where_company_costs_nothing_all_are_taken_and_the_batch_is_padded(waiting, size, padded):
    batcher = batcher_with(*(instance() for _ in range(waiting)), seconds=ALL_THE_SAME)
    batch, _ = batcher.next_batch()
    assert (len(batch.instances), batch.size) == (size, padded)


def test_the_oldest_go_first():
    batcher = batcher_with(*(instance(i) for i in range(6)))
    assert next_ids(batcher) == [0, 1, 2, 3]
    assert next_ids(batcher) == [4, 5]


def test_whose_deadline_has_passed_is_not_computed():
    batch, expired = batcher_with(instance(5, deadline=0), instance(6)).next_batch()
    assert [i.id for i in batch.instances] == [6]
    assert [i.id for i in expired] == [5]


def test_an_image_that_saw_an_engine_die_is_computed_alone():
    batcher = batcher_with(instance(1), instance(2, deaths=1), instance(3), instance(4))
    batches = []
    while batcher:
        batches.append(next_ids(batcher))
    assert batches == [[1], [2], [3, 4]]


def test_the_images_of_a_batch_that_failed_are_computed_one_by_one_before_all_others():
    batcher = batcher_with(*(instance(i) for i in range(4)))
    failed, _ = batcher.next_batch()
    batcher.add(instance(7))
    batcher.add_again(failed.instances)
    batches = []
    while batcher:
        batches.append(next_ids(batcher))
    assert batches == [[0], [1], [2], [3], [7]]


def test_nobody_waiting_makes_no_batch():
    assert batcher_with().next_batch() == (None, [])


def test_pixels_are_stacked_in_order():
    images = stack(Batch([instance(), instance()], 2), (2, 2, 1))
    assert images.dtype == np.uint8
    assert images[1, :, :, 0].tolist() == [[1, 2], [3, 4]]


def test_what_a_batch_has_no_images_for_is_black():
    images = stack(Batch([instance()], 4), (2, 2, 1))
    assert images.shape == (4, 2, 2, 1)
    assert images[0].any()
    assert not images[1:].any()
