"""The loop's clocks: how fast training goes, and when a checkpoint is due. What it learns is in test_fit.py."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from training.fit.loop import MAX_SHARE_OF_TIME, CheckpointClock, Stopwatch

BATCH = (np.zeros((8, 4, 4, 1), np.uint8), np.zeros(8))


def slow_batches(count: int, seconds: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for _ in range(count):
        time.sleep(seconds)
        yield BATCH


def test_waiting_for_batches_is_told_from_computing() -> None:
    stopwatch = Stopwatch(batch_size=8)
    for _ in stopwatch.waits(slow_batches(3, 0.05)):
        time.sleep(0.05)
    speed = stopwatch.speed()
    assert speed["input_wait"] == pytest.approx(0.5, abs=0.2)
    assert 0 < speed["images_per_s"] < 3 * 8 / 0.3


def test_batches_that_are_there_already_are_not_waited_for() -> None:
    stopwatch = Stopwatch(batch_size=8)
    for _ in stopwatch.waits(iter([BATCH] * 3)):
        time.sleep(0.02)
    assert stopwatch.speed()["input_wait"] < 0.2


def test_a_checkpoint_is_due_after_its_time_and_not_before() -> None:
    clock = CheckpointClock(0.1)
    assert not clock.is_due()
    time.sleep(0.12)
    assert clock.is_due()
    with clock:
        pass
    assert not clock.is_due()


def test_checkpoints_that_take_long_are_written_more_rarely() -> None:
    clock = CheckpointClock(0.001)
    with clock:
        time.sleep(0.05)
    time.sleep(0.01)
    assert not clock.is_due(), f"writing may take {MAX_SHARE_OF_TIME:.0%} of the time"


def test_with_0_seconds_every_step_is_due_however_long_writing_takes() -> None:
    clock = CheckpointClock(0.0)
    with clock:
        time.sleep(0.02)
    assert clock.is_due()
