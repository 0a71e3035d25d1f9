"""Whether what a job asks was decided before: a key of everything that a verdict depends on."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from models.store.decisions import read_decisions
from models.store.layout import list_versions
from training.config.recipes import DEFAULT, read_recipe
from training.data.dataset import Data
from training.retrain.job import Job
from training.runs.lineage import code_fingerprint


def key_of(job: Job, data: Data) -> str:
    """What a verdict depends on, but for the champion."""
    recipe = read_recipe(str(job.training.get("recipe", DEFAULT)))
    parts = [data.fingerprint(), data.fractions, job.training, recipe, job.start, asdict(job.gate), code_fingerprint()]
    parts += [data.labels] if data.labels else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def decided_before(job: Job, key: str, champion: int | None) -> dict[str, Any] | None:
    """The newest decision with this key that still holds; None if there is none."""
    decisions = [decision for decision in read_decisions(job.home) if decision.get("key") == key]
    return next((decision for decision in reversed(decisions) if still_holds(decision, job, champion)), None)


def still_holds(decision: dict[str, Any], job: Job, champion: int | None) -> bool:
    """Whether a decision with the same key answers the same question.

    The champion must be the same, or the version that the decision promoted. After a roll-back the rollout settings
    must be the same as well.
    """
    if decision["outcome"] == "promoted":
        there = decision["version"] in list_versions(job.home)
        return there and champion in (decision["champion"], decision["version"])
    same_rollout = decision.get("rollout_settings") == asdict(job.rollout)
    return decision["champion"] == champion and (decision["outcome"] != "rolled back" or same_rollout)
