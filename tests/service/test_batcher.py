import time

import numpy as np
import pytest

from service import wire
from service.batcher import Batcher, Instance, read_instance, stack


def instance(name: bytes = b"", *, deaths: int = 0, deadline: float = float("inf")) -> Instance:
    return Instance(b"worker", name, deaths, deadline, time.monotonic(), b"\1\2\3\4")


SLOW_AND_FAST = {1: 1.0, 2: 1.9, 4: 3.6}  # seconds of a batch: as on a CPU, where every image costs
ALL_THE_SAME = {1: 1.0, 4: 1.1, 16: 1.2}  # as on a GPU that has nothing else to do


def batcher_with(*instances: Instance, seconds=SLOW_AND_FAST) -> Batcher:
    batcher = Batcher(seconds)
    for one in instances:
        batcher.add(one)
    return batcher


def test_a_lone_image_never_waits_for_company():
    batch, expired = batcher_with(instance(b"a")).next_batch()
    assert [i.id for i in batch] == [b"a"]
    assert not expired


@pytest.mark.parametrize(("waiting", "size"), [(1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (100, 4)])
def test_where_every_image_costs_a_batch_is_the_largest_size_that_is_full(waiting, size):
    batcher = batcher_with(*(instance() for _ in range(waiting)))
    assert len(batcher.next_batch()[0]) == size
    assert len(batcher) == waiting - size


@pytest.mark.parametrize(("waiting", "size", "padded"), [(1, 1, 1), (2, 2, 4), (4, 4, 4), (5, 5, 16), (40, 16, 16)])
def test_where_company_costs_nothing_all_are_taken_and_the_batch_is_padded(waiting, size, padded):
    batcher = batcher_with(*(instance() for _ in range(waiting)), seconds=ALL_THE_SAME)
    assert len(batcher.next_batch()[0]) == size
    assert batcher.padded_size(size) == padded


def test_the_oldest_go_first():
    batcher = batcher_with(*(instance(bytes([i])) for i in range(6)))
    assert [i.id for i in batcher.next_batch()[0]] == [b"\0", b"\1", b"\2", b"\3"]
    assert [i.id for i in batcher.next_batch()[0]] == [b"\4", b"\5"]


def test_whose_deadline_has_passed_is_not_computed():
    batch, expired = batcher_with(instance(b"late", deadline=0), instance(b"good")).next_batch()
    assert [i.id for i in batch] == [b"good"]
    assert [i.id for i in expired] == [b"late"]


def test_an_image_that_saw_an_engine_die_is_computed_alone():
    batcher = batcher_with(instance(b"a"), instance(b"suspect", deaths=1), instance(b"b"), instance(b"c"))
    batches = []
    while batcher:
        batches.append([i.id for i in batcher.next_batch()[0]])
    assert batches == [[b"a"], [b"suspect"], [b"b", b"c"]]


def test_nobody_waiting_makes_no_batch():
    assert batcher_with().next_batch() == ([], [])


def test_pixels_are_stacked_in_order():
    images = stack([instance(), instance()], (2, 2, 1), 2)
    assert images.dtype == np.uint8
    assert images[1, :, :, 0].tolist() == [[1, 2], [3, 4]]


def test_what_a_batch_has_no_images_for_is_black():
    images = stack([instance()], (2, 2, 1), 4)
    assert images.shape == (4, 2, 2, 1)
    assert images[0].any()
    assert not images[1:].any()


@pytest.mark.parametrize("frames", [[], [b"s"], [b"s", b"short"], [b"s", bytes(wire.REQUEST.size), b"p"]])
def test_a_message_that_is_no_request_is_none(frames):
    assert read_instance(frames) is None
