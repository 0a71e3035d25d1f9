"""What was decided is not judged again, while its question is the same."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from models.store.decisions import record_decision
from training.promotion.rollout import Rollout
from training.retrain.decided import decided_before
from training.retrain.job import Job


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
