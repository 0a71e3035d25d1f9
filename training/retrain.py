"""A retraining job, from feedback to a decision: `python -m training retrain JOB.toml`.

look for what is new -> train -> ask champion and challenger, in a real service, about the same held-out images -> judge
-> publish, as shadow and canary first if the job says so -> record. One job at a time for each model. A job that is
killed anywhere is done again by the same command: it finds its run, its bundle and its version, and goes on from there.

    exports/<model>/decisions.jsonl set-aside/    models.decisions
    exports/<model>/retrain/
        held_out.npy                  which images are held out, for good
        looked.json                   what an unfinished job found; it goes on with that, whatever has come since
        .lock
"""

import calendar
import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from models.bundle import TRAINED_ON, BrokenBundle, read_images, read_manifest, verify
from models.decisions import read_decisions, read_set_aside, record_decision, set_aside
from models.durable import write_durably
from models.exports import list_versions, publish, read_live
from training.asking import answers_of, asked, golden_fault, golden_files
from training.gate import Evidence, Finding, judge, reasons
from training.index import files_below, subfolders
from training.job import Job
from training.lineage import code_fingerprint, describe
from training.plan import Plan, plan_of_table
from training.rollout import Watch, roll_out
from training.run import Data, prepare, train_and_export
from training.run_directory import claim_run, finish

STATE, HELD_OUT, LOOKED, LOCK = "retrain", "held_out.npy", "looked.json", ".lock"
BY_LABELS = ("not worse", "newest", "newest not worse")  # rules that wrong labels make fail
Ending = Literal["promoted", "held", "rejected", "rolled back", "skipped", "not needed", "busy"]
EXIT_CODES: dict[Ending, int] = {
    **{"promoted": 0, "skipped": 0, "not needed": 0},
    **{"held": 3, "rejected": 4, "busy": 5, "rolled back": 6},
}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a job; the line of JSON that it prints.

    Attributes:
        version: that was published; None where none was.
        champion: the version that was live when the job began.
        findings: of the gate.
    """

    outcome: Ending
    model: str
    reason: str
    version: int | None = None
    champion: int | None = None
    run: str | None = None
    findings: list[Finding] = field(default_factory=list)
    new_images: int = 0
    set_aside: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def retrain(
    job: Job,
    *,
    if_needed: bool,
    console: Console,
    on_step: Callable[[str], None] = lambda step: None,
) -> Result:
    """Do a job, or go on with it.

    Args:
        if_needed: train only if `job.needed` says so.
        on_step: called between steps with the name of the one just done; tests kill the process in it.

    Raises:
        BadData, BrokenBundle, ExportFailed, ServiceFailed, Unreachable, ...: it cannot be done; the live version stays.
    """
    (job.home / STATE).mkdir(parents=True, exist_ok=True)
    with alone(job.home / STATE / LOCK) as is_alone:
        if not is_alone:
            return Result("busy", job.model, "Another job of this model is at work.")
        champion = read_live(job.home).live
        is_unfinished = (job.home / STATE / LOOKED).exists()
        if if_needed and not is_unfinished:
            why = why_needed(job, champion)
            if not why:
                return Result("not needed", job.model, "Too few new labels and no drift.", champion=champion)
            say(console, f"needed: {why}")
        result = Attempt(job, champion, console, on_step).run()
        (job.home / STATE / LOOKED).unlink(missing_ok=True)
        return result


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether no other process holds this lock, which the kernel takes from one that dies."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class Attempt:
    """One job at work; the lock is held."""

    def __init__(self, job: Job, champion: int | None, console: Console, on_step: Callable[[str], None]) -> None:
        self._job = job
        self._champion = champion
        self._console = console
        self._on_step = on_step

    def run(self) -> Result:
        job = self._job
        until_ns = self._look()
        start = job.home / str(self._champion) if job.start == "live" and self._champion else None
        plan = plan_of_table(job.training, job.data, job.cache, start)
        data = prepare(
            job.data,
            plan.spec,
            job.cache,
            self._console,
            fractions=plan.fractions,
            more=job.feedback,
            until_ns=until_ns,
            without=read_set_aside(job.home),
            memory=job.home / STATE / HELD_OUT,
        )
        key = key_of(job, data, plan_of_table(job.training, job.data, job.cache, None))
        self._on_step("prepared")
        earlier = next((d for d in read_decisions(job.home) if d.get("key") == key), None)
        if earlier is not None:
            reason = f"Nothing has changed since {earlier['at']}, when this was {earlier['outcome']}."
            return Result("skipped", job.model, reason, earlier.get("version"), self._champion, earlier.get("run"))
        return self._train(data, plan, key, until_ns)

    def _look(self) -> int:
        """The newest feedback that this job takes in, by the time it was written; as an unfinished job did."""
        path = self._job.home / STATE / LOOKED
        if path.exists():
            found: dict[str, int] = json.loads(path.read_text())
            return found["until_ns"]
        newest = max((status.st_mtime_ns for status in statuses(self._job)), default=0)
        write_durably(path, json.dumps({"until_ns": newest}) + "\n")
        self._on_step("looked")
        return newest

    def _train(self, data: Data, plan: Plan, key: str, until_ns: int) -> Result:
        job = self._job
        origin = {**plan.origin, "parent_version": self._champion, "key": key}
        config = {"model": job.model, **describe(data, plan.settings), **origin}
        report_sizes(self._console, data)
        with claim_run(job.runs, job.model, config) as run:
            train_and_export(
                run, job.model, data, plan.settings, console=self._console, start=plan.start, origin=origin
            )
            self._on_step("trained")
            result = self._decide(run, data, key, until_ns)
            finish(run)
        self._on_step("finished")
        return result

    def _decide(self, run: Path, data: Data, key: str, until_ns: int) -> Result:
        """Judge, publish or not, and record."""
        job, bundle = self._job, run / "bundle"
        say(self._console, "asking champion and challenger about the held-out images")
        seen_ns = last_seen_ns(read_decisions(job.home))
        evidence = gather(bundle, self._champion_bundle(), data, seen_ns)
        verdict, findings = judge(evidence, job.gate)
        self._on_step("judged")
        for finding in findings:
            say(self._console, f"  {finding.outcome:<7} {finding.rule}: {finding.reason}")
        ending: Ending = "held" if verdict == "hold" else "rejected" if verdict == "reject" else "promoted"
        result = Result(
            ending,
            job.model,
            reasons(findings, verdict),
            champion=self._champion,
            run=run.name,
            findings=findings,
            new_images=self._num_new(data),
        )
        if verdict == "promote":
            result = self._publish(bundle, result)
        elif verdict == "reject":
            result = self._set_aside(data, result)
        write_durably(run / "decision.json", json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n")
        self._record(result, data, key, until_ns)
        self._on_step("recorded")
        return result

    def _champion_bundle(self) -> Path | None:
        return None if self._champion is None else self._job.home / str(self._champion)

    def _publish(self, bundle: Path, result: Result) -> Result:
        job = self._job
        version = published_before(job.home, bundle) or publish(bundle, job.exports, make_live=False)
        self._on_step("published")
        fault = roll_out(job.exports, job.model, version, job.rollout, job.service, on_step=self._on_step)
        if fault:
            reason = f"Version {version} was taken back: {fault}."
            return replace(result, outcome="rolled back", reason=reason, version=version)
        return replace(result, version=version)

    def _set_aside(self, data: Data, result: Result) -> Result:
        """Have later jobs leave out what was new, where it may be to blame."""
        blamed = any(f.outcome == "reject" and f.rule in BY_LABELS for f in result.findings)
        rows = self._new_rows(data)
        if not blamed or not len(rows):
            return result
        digests = (data.decoded.files["sha256"][row].tobytes().hex() for row in rows)
        images = [(digest, data.decoded.paths[row]) for digest, row in zip(digests, rows, strict=True)]
        path = set_aside(self._job.home, str(result.run), images)
        reason = (
            f"{result.reason} {len(rows)} new images are set aside; look at them, and delete {path} to take them back."
        )
        return replace(result, set_aside=len(rows), reason=reason)

    def _num_new(self, data: Data) -> int:
        return len(self._new_rows(data))

    def _new_rows(self, data: Data) -> np.ndarray:
        """Further images, on some side, that the champion knew nothing of."""
        ours = np.concatenate([data.split.train, data.split.val, data.split.test])
        rows = ours[data.is_further()[ours]]
        champion = self._champion_bundle()
        return rows[~np.isin(data.decoded.hashes()[rows], read_images(champion)["hash"])] if champion else rows

    def _record(self, result: Result, data: Data, key: str, until_ns: int) -> None:
        sides = {side: len(getattr(data.split, side)) for side in ("train", "val", "test")}
        facts = {"fingerprint": data.fingerprint(), **sides, "feedback_until_ns": until_ns}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record_decision(self._job.home, {"at": now, "key": key, **result.to_json(), "data": facts})


def key_of(job: Job, data: Data, plan: Plan) -> str:
    """What a decision depends on: the same key, the same decision.

    Args:
        plan: from scratch, for what is live changes with every promotion.
    """
    parts = [data.fingerprint(), plan.settings.to_json(), plan.spec.to_json(), job.start, asdict(job.gate)]
    return hashlib.sha256(json.dumps([*parts, code_fingerprint()]).encode()).hexdigest()


def gather(challenger: Path, champion: Path | None, data: Data, seen_ns: int) -> Evidence:
    """Ask both about every held-out image that neither was trained on.

    Args:
        seen_ns: feedback written later is the newest, which no job has judged by yet.

    Raises:
        ServiceFailed: a bundle is refused, or an image has no answer.
    """
    hashes, rows = data.decoded.hashes(), data.split.test
    ours = read_images(challenger)
    leaked = int(np.isin(hashes[rows], ours["hash"][ours["side"] == TRAINED_ON]).sum())
    known = read_images(champion) if champion else ours[:0]
    rows = rows[~np.isin(hashes[rows], known["hash"][known["side"] == TRAINED_ON])]
    further = data.is_further()[rows] & ~np.isin(hashes[rows], known["hash"])
    newest = np.array(
        [is_new and written_ns(data, row) > seen_ns for is_new, row in zip(further, rows, strict=True)], bool
    )
    images = [data.root / data.decoded.paths[row] for row in rows]
    bundles = [bundle for bundle in (champion, challenger) if bundle is not None]
    with asked(bundles) as service:
        versions = list(range(1, len(bundles) + 1))
        golden = golden_fault(service, versions[-1], challenger)
        latencies = service.latencies_ms(versions, images or golden_files(challenger))
        answered = [
            answers_of(service, version, bundle, images, times)
            for version, bundle, times in zip(versions, bundles, latencies, strict=True)
        ]
    names = np.array(data.decoded.class_names, object)
    return Evidence(
        labels=names[data.decoded.labels[rows]],
        newest=newest,
        challenger=answered[-1],
        champion=answered[0] if champion is not None else None,
        leaked=leaked,
        golden=golden,
    )


def written_ns(data: Data, row: int) -> int:
    return (data.root / data.decoded.paths[row]).stat().st_mtime_ns


def last_seen_ns(decisions: list[dict[str, Any]]) -> int:
    """When the newest feedback was written that a job has judged by."""
    return max((decision.get("data", {}).get("feedback_until_ns", 0) for decision in decisions), default=0)


def published_before(home: Path, bundle: Path) -> int | None:
    """The version that is this bundle, where a job was killed after it had published."""
    ours = read_manifest(bundle)
    for version in list_versions(home):
        with contextlib.suppress(BrokenBundle):
            if read_manifest(home / str(version)) == ours:
                verify(home / str(version))
                return version
    return None


def why_needed(job: Job, champion: int | None) -> str:
    """Why it is time to train; "" where it is not."""
    if champion is None:
        return "nothing is live yet"
    decisions, needed = read_decisions(job.home), job.needed
    last = decisions[-1] if decisions else {}
    num_new = sum(status.st_mtime_ns > last_seen_ns(decisions) for status in statuses(job))
    if needed.new_labels and num_new >= needed.new_labels:
        return f"{num_new} new labels"
    if needed.days and last and days_since(last["at"]) >= needed.days:
        return f"the last decision was {days_since(last['at']):.0f} days ago"
    if needed.drift and job.service:
        drift = (Watch(job.service, job.model).about().get("drift") or {}).get("psi", {})
        most = max(drift, key=drift.__getitem__, default="")
        if most and drift[most] >= needed.drift:
            return f"{most} has drifted (PSI {drift[most]:.2f})"
    return ""


def days_since(at: str) -> float:
    return (time.time() - calendar.timegm(time.strptime(at, "%Y-%m-%dT%H:%M:%SZ"))) / 86_400


def statuses(job: Job) -> Iterator[os.stat_result]:
    """Of every file of feedback."""
    for root in (root for root in job.feedback if root.is_dir()):
        for folder in subfolders(root):
            for path in files_below(folder, root):
                with contextlib.suppress(FileNotFoundError):  # set apart just now
                    yield (root / path).stat()


def report_sizes(console: Console, data: Data) -> None:
    split, added = data.split, int(data.is_further().sum())
    say(
        console,
        f"{len(data.decoded.labels):,} images, {added:,} of them feedback: {len(split.train):,} to train, "
        f"{len(split.val):,} to validate, {len(split.test):,} to test",
    )


def say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
