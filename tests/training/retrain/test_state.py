"""A job that was cut off goes on with what it found; one that fails by what it found looks anew."""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.images import shades, write_folder
from training.data.index import BadData
from training.promotion.traffic import Unreachable
from training.retrain.job import Job
from training.retrain.pipeline import retrain
from training.retrain.state import Unfinished

QUIET = Console(file=io.StringIO())


def new_feedback(job: Job, name: str) -> None:
    path = job.feedback[0] / "cat" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"an image")
    os.utime(path, ns=(len(name), len(name)))


def looks_anew(job: Job) -> bool:
    """Whether the same command, given now, finds feedback that has just come."""
    new_feedback(job, f"{len(list(job.feedback[0].rglob('*')))}.png")
    unfinished = Unfinished(job.home / "retrain")
    unfinished.begin(job, lambda step: None)
    return len(list(unfinished.feedback.rglob("*.png"))) == len(list(job.feedback[0].rglob("*.png")))


@pytest.fixture
def begun(job: Job) -> Unfinished:
    """A job that has begun to train."""
    (job.home / "retrain").mkdir()
    new_feedback(job, "first.png")
    unfinished = Unfinished(job.home / "retrain")
    unfinished.begin(job, lambda step: None)
    unfinished.note_run("toy-1")
    return unfinished


def test_a_job_that_was_killed_goes_on_with_what_it_found(job: Job, begun: Unfinished) -> None:
    assert not looks_anew(job)


def test_a_job_that_fails_twice_looks_at_what_has_come_since(job: Job, begun: Unfinished) -> None:
    begun.fail(ValueError("the loss is no number"))
    assert not looks_anew(job), "it may have been a chance"
    Unfinished(job.home / "retrain").fail(ValueError("the loss is no number"))
    assert looks_anew(job)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), Unreachable("down")])
def test_a_fault_of_the_machine_costs_no_work_however_often_it_comes(
    job: Job, begun: Unfinished, error: Exception
) -> None:
    for _ in range(3):
        Unfinished(job.home / "retrain").fail(error)
    assert not looks_anew(job)


def test_a_connection_that_breaks_each_time_is_no_fault_of_the_machine(job: Job, begun: Unfinished) -> None:
    for _ in range(2):
        Unfinished(job.home / "retrain").fail(ConnectionResetError())
    assert looks_anew(job)


def test_training_that_fails_each_time_takes_in_new_feedback_in_the_end(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And while it has not begun to train, it does so at once."""
    job = replace(job, training={"model": "lenet5"}, start="scratch")
    found = []

    def fail(run: Path, model: str, data: Any, *_: object, **__: object) -> None:
        found.append(int(data.is_further().sum()))
        raise BadData("the loss is no number")

    monkeypatch.setattr("training.retrain.pipeline.train_and_export", fail)
    for i in range(3):
        write_folder(job.feedback[0], {"cat": shades(2 + i, 50, 60, seed=i)})
        with pytest.raises(BadData):
            retrain(job, if_needed=False, console=QUIET)
    assert found == [2, 2, 4]
