"""A retraining job, from feedback to a decision: `striate retrain JOB.toml`.

look for what is new -> train -> ask champion and challenger, in a real service, about the same held-out images -> judge
-> publish, as shadow and canary first if the job says so -> record. One job at a time for each model. A job that is
killed anywhere is done again by the same command: it finds its run, its bundle and its version, and goes on from there.

    exports/<model>/decisions.jsonl set-aside/    models.store.decisions
    exports/<model>/retrain/
        held_out.npy                  which images are held out, for good; held_out-<hash>.npy where they are grouped
        unfinished.json feedback/     what a job that is under way found (training.retrain.state)
        .lock
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from models.bundle.manifest import IMPORTED, read_manifest, refuse_many_labels
from models.files.locks import locked
from models.insight.thumbnails import THUMBNAILS
from models.store.decisions import read_decisions, read_set_aside, read_suspected, record_decision, set_aside
from models.store.live import LiveVersionChanged, read_live
from models.store.mirror import bring_version, pull_for_training
from training.data.audit import summary
from training.data.dataset import Data, find_images, prepare
from training.data.index import BadData, check_apart
from training.data.named_sets import DATA_SETS
from training.fit.options import FitOptions
from training.promotion.gate import Finding, Verdict
from training.promotion.holdout_comparison import gather, known_to
from training.promotion.publishing import publish_once
from training.promotion.rollout import roll_out, take_back
from training.promotion.rules import judge, reasons
from training.promotion.traffic import Watch
from training.retrain.decided import decided_before, key_of
from training.retrain.job import Job
from training.retrain.result import Ending, Judged, Result, read_verdict
from training.retrain.state import Unfinished
from training.retrain.trigger import is_needed, last_seen_ns
from training.runs.directory import claim_run, finish, write_json
from training.runs.lineage import describe
from training.runs.pipeline import train_and_export
from training.runs.plan import Plan, plan_of_table, read_table
from training.weights.start import SCRATCH, find_start

STATE, HELD_OUT, LOCK = "retrain", "held_out.npy", ".lock"
VERDICT, RESULT = "verdict.json", "decision.json"  # in the run's directory
BY_LABELS = ("not worse", "newest", "newest not worse")  # rules that wrong labels make fail
EXIT_CODES: dict[Ending, int] = {
    **{"promoted": 0, "skipped": 0, "not needed": 0},
    **{"held": 3, "rejected": 4, "busy": 5, "rolled back": 6},
}
ENDINGS: dict[Verdict, Ending] = {"promote": "promoted", "hold": "held", "reject": "rejected"}


def retrain(
    job: Job, *, if_needed: bool, console: Console, on_step: Callable[[str], None] = lambda step: None
) -> Result:
    """Do a job, or go on with it.

    Args:
        if_needed: train only if `job.needed` says so.
        on_step: called between steps with the name of the one just done; tests kill the process in it.

    Raises:
        BadData, BrokenBundle, ExportFailed, ServiceFailed, Unreachable, ...: it cannot be done; the live version stays.
    """
    check_folders(job)
    pull_for_training(job.home)
    check_live(job)
    (job.home / STATE).mkdir(parents=True, exist_ok=True)
    with locked(job.home / STATE / LOCK, wait=False) as is_alone:
        if not is_alone:
            return Result("busy", job.model, "Another job of this model is at work.")
        unfinished = Unfinished(job.home / STATE)
        if if_needed and not unfinished.is_of(job):
            needed, why = is_needed(job, read_live(job.home).live)
            if not needed:
                return Result("not needed", job.model, why)
            say(console, f"needed: {why}")
        unfinished.begin(job, on_step)
        try:
            result = Attempt(job, unfinished, console, on_step).run()
        except Exception as error:
            unfinished.fail(error)
            raise
        unfinished.end()
        return result


def check_folders(job: Job) -> None:
    """
    Raises:
        BadData: a folder that a job or the service writes into lies in the base data.
    """
    written = [("exports", job.exports), ("runs", job.runs), ("cache", job.cache)]
    if job.data not in DATA_SETS:
        check_apart(Path(job.data), *written, *(("feedback", folder) for folder in job.feedback))


def check_live(job: Job) -> None:
    """
    Raises:
        NotForThisModel: the live version gives an image any number of labels, and training and the gate know one.
    """
    live = read_live(job.home).live
    if live is not None:
        bring_version(job.home, live)
        refuse_many_labels(read_manifest(job.home / str(live)), "retrain")


class Attempt:
    """One job at work; the lock is held."""

    def __init__(self, job: Job, unfinished: Unfinished, console: Console, on_step: Callable[[str], None]) -> None:
        self._job = job
        self._unfinished = unfinished
        self._champion = unfinished.said.champion
        self._console = console
        self._on_step = on_step

    def run(self) -> Result:
        job = self._job
        check_service(job, self._champion)
        data, plan = self._prepare()
        key = key_of(job, data)
        self._on_step("prepared")
        earlier = decided_before(job, key, self._champion)
        if earlier is not None:
            reason = f"Nothing has changed since {earlier['at']}, when this was {earlier['outcome']}."
            return Result("skipped", job.model, reason, earlier.get("version"), self._champion, earlier.get("run"))
        origin = {**plan.origin(job.model, job.exports), "parent_version": self._champion, "key": key}
        settings = plan.settings_for(len(data.split.train))
        config = {"model": job.model, **describe(data, settings), **origin}
        report_sizes(self._console, data, num_left_out=len(data.decoded.labels) - num_on_sides(data))
        with claim_run(job.runs, job.model, config) as run:
            self._unfinished.note_run(run.name)
            train_and_export(
                run,
                job.model,
                data,
                settings,
                FitOptions(self._console),
                start=plan.start,
                origin=origin,
                sources=plan.sources(settings),
                thumbnails=(job.home / str(self._champion) / THUMBNAILS).exists(),
            )
            self._on_step("trained")
            result = self._decide(run, data, key)
            finish(run)
        self._on_step("finished")
        return result

    def _prepare(self) -> tuple[Data, Plan]:
        job = self._job
        found = find_images(job.data, job.cache, (self._unfinished.feedback,), job.labels)
        start = find_start(self._start(), found, read_table(job.training), job.cache, self._console)
        plan = plan_of_table(job.training, found, start)
        data = prepare(
            found,
            plan.spec,
            job.cache,
            self._console,
            fractions=plan.fractions,
            without=read_set_aside(job.home, but=self._unfinished.said.run),
            memory=job.home / STATE / held_out_name(job),
        )
        if not len(data.split.test):
            raise BadData("A retraining job needs held-out images to judge by: give a split such as 70/15/15.")
        return data, plan

    def _start(self) -> str | None:
        """What training starts from, in the words of `find_start`: nothing where there is no live version to train."""
        if self._job.start == "scratch":
            return SCRATCH
        if self._champion is None:
            return None
        live = self._job.home / str(self._champion)
        if read_manifest(live).architecture == IMPORTED:
            why = f"version {self._champion} was imported, and its network is not one that Striate can train"
            say(self._console, f"{why}: training starts as it does where nothing is live")
            return None
        return str(live)

    def _decide(self, run: Path, data: Data, key: str) -> Result:
        """Judge, publish or not, and record."""
        verdict, findings = self._judge(run, data)
        result = Result(
            ENDINGS[verdict],
            self._job.model,
            reasons(findings, verdict),
            champion=self._champion,
            run=run.name,
            findings=findings,
            new_images=len(self._new_rows(data)),
        )
        if verdict == "promote":
            result = self._publish(run, result)
        elif verdict == "reject":
            result = self._set_aside(data, result)
        write_json(run / RESULT, result.to_json())
        self._record(result, data, key)
        self._on_step("recorded")
        return result

    def _judge(self, run: Path, data: Data) -> tuple[Verdict, list[Finding]]:
        """Judge once: a resumed job reads the recorded verdict."""
        path = run / VERDICT
        if path.exists():
            return read_verdict(path)
        say(self._console, "asking champion and challenger about the held-out images")
        seen_ns = last_seen_ns(read_decisions(self._job.home))
        suspected = read_suspected(self._job.home)
        evidence = gather(run / "bundle", self._job.home, self._champion, data, seen_ns, suspected)
        verdict, findings = judge(evidence, self._job.gate)
        for finding in findings:
            say(self._console, f"  {finding.outcome:<7} {finding.rule}: {finding.reason}")
        write_json(path, asdict(Judged(verdict, findings)))
        self._on_step("judged")
        return verdict, findings

    def _publish(self, run: Path, result: Result) -> Result:
        job, bundle = self._job, run / "bundle"
        version = publish_once(bundle, job.exports, make_live=False)
        self._on_step("published")
        fault, seen = self._unfinished.said.fault or "", list[str]()
        if fault:  # a job was killed while it took the version back
            take_back(job.exports, job.model, version)

        def note(line: str) -> None:
            seen.append(line)
            say(self._console, f"  {line}")

        try:
            fault = fault or roll_out(
                job.exports,
                job.model,
                version,
                self._champion,
                job.rollout,
                job.service,
                on_step=self._on_step,
                on_fault=self._unfinished.note_fault,
                on_note=note,
            )
        except LiveVersionChanged as error:
            fault = str(error).rstrip(".")
        if fault:
            reason = f"Version {version} was taken back: {fault}."
            return replace(result, outcome="rolled back", reason=reason, version=version, rollout=seen)
        return replace(result, version=version, rollout=seen)

    def _set_aside(self, data: Data, result: Result) -> Result:
        """Set the new images aside, so that later jobs skip them, if a rule failed that wrong labels can make fail."""
        blamed = any(f.outcome == "reject" and f.rule in BY_LABELS for f in result.findings)
        rows = self._new_rows(data)
        if not blamed or not len(rows):
            return result
        digests = (data.decoded.files["sha256"][row].tobytes().hex() for row in rows)
        paths = (self._unfinished.source_of(self._job, data.root / data.decoded.paths[row]) for row in rows)
        path = set_aside(self._job.home, str(result.run), [(d, str(p)) for d, p in zip(digests, paths, strict=True)])
        reason = (
            f"{result.reason} {len(rows)} new images are set aside: {path.relative_to(self._job.home)} in the exports "
            "lists them. Check them; delete a line there to let later jobs train on its image."
        )
        return replace(result, set_aside=len(rows), reason=reason)

    def _new_rows(self, data: Data) -> np.ndarray:
        """Feedback, on some side, that the champion knew nothing of."""
        ours = np.concatenate([data.split.train, data.split.val, data.split.test])
        rows = ours[data.is_further()[ours]]
        return rows[~np.isin(data.decoded.hashes()[rows], known_to(self._job.home, self._champion))]

    def _record(self, result: Result, data: Data, key: str) -> None:
        sides = {side: len(getattr(data.split, side)) for side in ("train", "val", "test")}
        facts = {"fingerprint": data.fingerprint(), **sides, "feedback_until_ns": self._unfinished.said.until_ns}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        rollout = {"rollout_settings": asdict(self._job.rollout)}
        record_decision(self._job.home, {"at": now, "key": key, **result.to_json(), "data": facts, **rollout})


def held_out_name(job: Job) -> str:
    """The file that remembers what is held out; another one for each way to group images."""
    grouping = job.labels.grouping
    return f"held_out-{hashlib.sha256(grouping.encode()).hexdigest()[:8]}.npy" if grouping else HELD_OUT


def check_service(job: Job, champion: int | None) -> None:
    """Before hours of training: that there is a service to watch a roll-out by.

    Raises:
        Unreachable: there is none.
    """
    if job.rollout.is_watched and champion is not None:
        Watch(job.service, job.model).about()


def num_on_sides(data: Data) -> int:
    return sum(len(getattr(data.split, side)) for side in ("train", "val", "test"))


def report_sizes(console: Console, data: Data, *, num_left_out: int) -> None:
    split, added = data.split, int(data.is_further().sum())
    say(
        console,
        f"{len(data.decoded.labels):,} images, {added:,} of them feedback: {len(split.train):,} to train, "
        f"{len(split.val):,} to validate, {len(split.test):,} to test, {num_left_out:,} set aside",
    )
    for line in filter(None, [data.about_groups(), *summary(data.audit)]):
        say(console, line)


def say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
