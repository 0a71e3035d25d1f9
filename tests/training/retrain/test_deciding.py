"""What a retraining job does again: not what was decided, and not for ever what fails."""

import io
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from models.store.decisions import record_decision
from models.store.publish import publish
from tests.bundles import make_bundle
from tests.images import shades, write_folder
from training.data.index import BadData
from training.promotion.rollout import Rollout
from training.promotion.traffic import Unreachable
from training.retrain.decided import decided_before
from training.retrain.job import Job
from training.retrain.pipeline import retrain
from training.retrain.state import Unfinished

QUIET = Console(file=io.StringIO())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Of a model of which versions 1 and 2 are published."""
    bundle = make_bundle(tmp_path / "bundle")
    for _ in range(2):
        publish(bundle, tmp_path / "exports")
    folder = write_folder(tmp_path / "base", {"cat": shades(20, 0, 99), "dog": shades(20, 100, 255)})
    return Job(
        "toy", str(folder), (tmp_path / "feedback",), tmp_path / "exports", tmp_path / "runs", tmp_path / "cache"
    )


def decided(job: Job, outcome: str, *, champion: int | None, version: int | None = None, **more: Any) -> None:
    said = {"at": "2026-11-25T12:00:00Z", "reason": "so", "findings": []}
    record_decision(
        job.home, {**said, "key": "same", "outcome": outcome, "champion": champion, "version": version, **more}
    )


def is_skipped(job: Job, champion: int | None) -> bool:
    return decided_before(job, "same", champion) is not None


@pytest.mark.parametrize("outcome", ["held", "rejected"])
def test_a_challenger_that_was_held_or_rejected_is_judged_again_against_another_champion(
    job: Job, outcome: str
) -> None:
    decided(job, outcome, champion=1)
    assert is_skipped(job, champion=1)
    assert not is_skipped(job, champion=2)
    assert is_skipped(replace(job, rollout=Rollout(canary_s=9)), champion=1), "it never came to a roll-out"
    decided(job, "held", champion=2)
    assert is_skipped(job, champion=2)
    assert is_skipped(job, champion=1)


def test_after_a_promotion_the_same_data_are_skipped_although_the_champion_is_another(job: Job) -> None:
    decided(job, "promoted", champion=1, version=2)
    assert is_skipped(job, champion=2)
    assert is_skipped(job, champion=1), "somebody went back to it, and meant it"
    assert is_skipped(replace(job, rollout=Rollout(canary_s=9)), champion=2)
    assert not is_skipped(job, champion=3)


def test_a_promotion_whose_version_was_deleted_is_none(job: Job) -> None:
    decided(job, "promoted", champion=None, version=7)
    assert not is_skipped(job, champion=None)


def test_a_version_that_was_taken_back_is_tried_again_by_another_roll_out(job: Job) -> None:
    watched = replace(job, rollout=Rollout(canary_s=9))
    decided(job, "rolled back", champion=1, version=2, rollout_settings=asdict(watched.rollout))
    assert is_skipped(watched, champion=1)
    assert not is_skipped(replace(job, rollout=Rollout(canary_s=9, max_latency_ratio=5)), champion=1)
    assert not is_skipped(watched, champion=2)


def test_another_key_is_another_question(job: Job) -> None:
    decided(job, "held", champion=1)
    assert decided_before(job, "other", 1) is None


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
