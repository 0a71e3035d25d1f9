"""Whether it is time for a retraining job to train: `retrain --if-needed`."""

import calendar
import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from models.files.folders import files_below, subfolders
from models.store.decisions import read_decisions
from training.promotion.traffic import Watch
from training.retrain.job import Job

DAY_S = 86_400.0


def is_needed(job: Job, champion: int | None) -> tuple[bool, str]:
    """Whether it is, and why or why not.

    Raises:
        Unreachable: the service does not say whether there is drift.
    """
    if champion is None:
        return True, "nothing is live yet"
    decisions, needed = read_decisions(job.home), job.needed
    seen_ns = last_seen_ns(decisions)
    num_new = sum(status.st_mtime_ns > seen_ns for status in statuses(job))
    if needed.new_labels and num_new >= needed.new_labels:
        return True, f"{num_new} new labels"
    if needed.days and decisions and days_since(decisions[-1]["at"]) >= needed.days:
        return True, f"the last decision was {days_since(decisions[-1]['at']):.0f} days ago"
    drift = "drift unknown, since the job names no service"
    if needed.drift and job.service:
        psi = (Watch(job.service, job.model).about().get("drift") or {}).get("psi", {})
        most = max(psi, key=psi.__getitem__, default="")
        if most and psi[most] >= needed.drift:
            return True, f"{most} has drifted (PSI {psi[most]:.2f})"
        drift = f"the most drift is {psi[most]:.2f}, of {most}" if most else "too few requests to tell drift"
    return False, f"{num_new} new labels, of {needed.new_labels} that are needed; {drift}."


def last_seen_ns(decisions: list[dict[str, Any]]) -> int:
    """When the newest feedback was written that a job has judged by."""
    return max((decision.get("data", {}).get("feedback_until_ns", 0) for decision in decisions), default=0)


def days_since(at: str) -> float:
    return (time.time() - calendar.timegm(time.strptime(at, "%Y-%m-%dT%H:%M:%SZ"))) / DAY_S


def statuses(job: Job) -> Iterator[os.stat_result]:
    """Of every file of feedback."""
    for root in (root for root in job.feedback if root.is_dir()):
        for folder in subfolders(root):
            for path in files_below(folder, root):
                with contextlib.suppress(FileNotFoundError):  # set apart just now
                    yield (root / path).stat()
