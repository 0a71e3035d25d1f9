"""Which size of batch is computed, for backends whose times this test decides; no clock runs."""

from collections import Counter
from collections.abc import Callable

import pytest

from service.engine.batch_sizes import LONGEST_BATCH_S, BatchSizes

MANY = 1000  # images wait, always


def each_costs(size: int) -> float:
    """As on a CPU: company saves little."""
    return 0.005 * size**0.95


def serve(sizes: BatchSizes, seconds: Callable[[int], float], *, batches: int, waiting: int = MANY) -> Counter[int]:
    """How many batches of each size were computed, by a machine on which a batch takes so long."""
    computed: Counter[int] = Counter()
    for _ in range(batches):
        size = sizes.best(waiting)
        sizes.observe(size, seconds(size))
        computed[size] += 1
    return computed


@pytest.mark.parametrize(
    "measured", [{1: 1.0}, {1: 0.1, 2: 0.2}, {1: 0.005, 2: 0.01, 4: 0.9}, {1: 0.0}], ids=["1", "1 and 2", "only 4", "0"]
)
def test_times_that_were_measured_on_a_busy_machine_heal_while_the_service_answers(measured):
    sizes = BatchSizes(measured, 32)
    serve(sizes, each_costs, batches=200)
    assert serve(sizes, each_costs, batches=100)[32] >= 95


def test_a_size_that_fails_is_tried_only_now_and_then_and_taken_again_when_it_succeeds():
    """As where 32 images do not fit a GPU's memory; each of them is computed alone then."""
    sizes, failed, batches = BatchSizes({1: 0.005}, 32), 0, 1000
    for _ in range(batches):
        size = sizes.best(MANY)
        if size >= 16:
            failed += 1
            sizes.observe_failure(size, each_costs(size))
        else:
            sizes.observe(size, each_costs(size))
    assert 1 <= failed <= 0.03 * batches
    assert sizes.best(15) == 8
    serve(sizes, each_costs, batches=500)
    assert serve(sizes, each_costs, batches=100)[32] >= 95


def test_no_batch_is_larger_than_the_setting_allows():
    sizes = BatchSizes({1: 1.0}, 12)
    assert max(serve(sizes, lambda size: 0.001, batches=500)) == 8


def test_where_larger_batches_are_truly_slower_small_ones_stay():
    def slower_together(size: int) -> float:
        return 0.01 * size**1.5

    sizes = BatchSizes({1: 0.01, 2: 0.02}, 32)
    serve(sizes, slower_together, batches=100)
    computed = serve(sizes, slower_together, batches=2000)
    assert set(computed) == {1, 2}  # the next size is tried now and then
    assert computed[2] * slower_together(2) < 0.03 * computed[1] * slower_together(1)


def test_a_disturbed_batch_does_not_change_which_size_is_taken():
    def cheap_together(size: int) -> float:
        return 0.01 + 0.0006 * size

    sizes = BatchSizes({1: 0.01, 8: 0.02, 32: 0.03}, 32)
    serve(sizes, cheap_together, batches=20)
    sizes.observe(32, 3.0)
    assert serve(sizes, cheap_together, batches=50)[32] >= 48


def test_a_size_that_was_disturbed_for_long_is_tried_again():
    sizes = BatchSizes({1: 0.005}, 4)
    serve(sizes, each_costs, batches=20)
    for _ in range(20):
        sizes.observe(4, 0.1)
    assert serve(sizes, each_costs, batches=10)[4] == 0
    serve(sizes, each_costs, batches=2000)
    assert serve(sizes, each_costs, batches=100)[4] >= 95


def test_batches_that_would_take_too_long_for_those_who_wait_are_not_computed():
    sizes = BatchSizes({1: LONGEST_BATCH_S / 5}, 32)
    assert max(serve(sizes, lambda size: size * LONGEST_BATCH_S / 5, batches=500)) == 4


def test_the_only_size_of_a_model_that_takes_too_long_anyway_is_1():
    sizes = BatchSizes({1: 10 * LONGEST_BATCH_S}, 32)
    assert set(serve(sizes, lambda size: 10 * LONGEST_BATCH_S * size, batches=100)) == {1}


def test_the_first_batch_of_a_size_says_nothing_where_it_has_to_be_compiled():
    sizes = BatchSizes({1: 0.01}, 2, takes_any_size=False)
    sizes.observe(2, 5.0)
    assert sizes.best(MANY) == 2
    for _ in range(10):
        sizes.observe(2, 5.0)
    assert sizes.best(MANY) == 1
