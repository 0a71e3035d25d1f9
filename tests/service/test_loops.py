"""Loops of an HTTP worker go on whatever happens in them, and what they write is not changed under them."""

import copy
import json

import gevent
import numpy as np

from models.bundle.reference import STATISTICS, Reference, describe
from service.ipc.routes import Routes
from service.loops import repeat
from service.telemetry.drift import DriftMonitor, drift_of


def test_a_loop_goes_on_after_an_exception_and_logs_it(caplog):
    called = []

    def fail_at_first() -> None:
        called.append(len(called))
        if len(called) == 1:
            raise RuntimeError("dictionary changed size during iteration")

    loop = gevent.spawn(repeat, fail_at_first, every_s=0.0)
    while len(called) < 3:
        gevent.sleep(0)
    loop.kill()
    assert "it is tried again" in caplog.text
    assert "dictionary changed size" in caplog.text


def reference() -> Reference:
    """Of 100 held-out images, half of them on each side of every edge."""
    edges, shares = {name: [0.5] for name in STATISTICS}, {name: [0.5, 0.5] for name in STATISTICS}
    return Reference(100, ["a"], [0.5, 0.5], edges, shares, [0.0] * 5, np.eye(5).tolist(), [0.0, 1.0])


def observe(monitor: DriftMonitor) -> None:
    probabilities = np.array([[0.9, 0.1]], np.float32)
    monitor.observe(describe(np.zeros((1, 4, 4, 1), np.uint8), probabilities), probabilities)


def test_counts_that_are_being_written_do_not_change_while_more_is_counted(tmp_path):
    monitor = DriftMonitor(tmp_path, ("toy", 1), reference(), ("a", "b"))
    assert monitor.changed_counts() is None
    observe(monitor)
    counts = monitor.changed_counts()
    before = copy.deepcopy(counts)
    observe(monitor)
    assert counts == before
    monitor.write(counts)
    assert json.loads((tmp_path / "toy.1.json").read_text())["target"] == ["toy", 1]
    assert sum(monitor.changed_counts()["classes"]) > sum(before["classes"])
    assert monitor.changed_counts() is None


def test_the_next_engine_of_a_version_goes_on_counting_where_the_last_has_ended(tmp_path):
    first = DriftMonitor(tmp_path, ("toy", 1), reference(), ("a", "b"))
    observe(first)
    first.write(first.changed_counts())
    second = DriftMonitor(tmp_path, ("toy", 1), reference(), ("a", "b"))
    observe(second)
    assert 1.9 < sum(second.changed_counts()["classes"]) < 2


def test_counts_that_are_half_written_are_not_read(tmp_path):
    """A file takes its name when it is whole; the one before has a dot in front of it."""
    (tmp_path / ".toy-x1y2.1.json").write_text("")
    assert drift_of(tmp_path, Routes()) == {}
