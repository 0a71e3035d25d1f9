"""A retraining job killed again and again: `python -m benchmarks.kills`.

Digits come in as feedback, in batches, while a job is started and killed with SIGKILL: every other time between two of
its steps, each in turn, every other time after a time drawn at random. After each kill everything is looked at: every
version verifies, the live one is the old or the new one, every decision can be read, and every image whose feedback was
acknowledged is there under its label. A job that ends before it is killed has gone on with what the killed ones left;
then more feedback comes in. Only real kills count.
"""

import collections
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.processes import circumstances
from models.bundle.manifest import verify
from models.store.decisions import read_decisions
from models.store.layout import list_versions
from models.store.live import read_live
from service.feedback.store import FeedbackStore
from training.data.named_sets import folder_of

MODEL = "digits"
STEPS = ("looked", "prepared", "trained", "judged", "published", "recorded", "finished")
JOB = f"""
model = "{MODEL}"
data = "base"

[training]
model = "lenet5"
epochs = 3
flip = false

[gate]
promote = "not-worse"
margin = 0.2
calibration_margin = 1.0
max_latency_ratio = 0
"""
TO_KILL = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from models.process.quiet import import_quietly
import_quietly("tensorflow", "keras")
from training.retrain.job import read_job
from training.retrain.pipeline import retrain

def die(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

retrain(read_job(Path(sys.argv[1])), if_needed=False, console=Console(quiet=True), on_step=die)
"""
LONGEST_S = 15.0  # until a kill at any time
BATCH = 10  # images of feedback between one job and the next


@click.command()
@click.option("--kills", default=100, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(kills: int, seed: int) -> None:
    """Print what happened, and one line of JSON."""
    rng = random.Random(seed)
    work = Path(tempfile.mkdtemp(prefix="striate-kills-"))
    pool = prepare(work, rng)
    store = FeedbackStore(work / "feedback" / MODEL, max_bytes=10**9)
    told: dict[Path, str] = {}
    endings: collections.Counter[str] = collections.Counter()
    died: collections.Counter[str] = collections.Counter()
    num_tried, live_before = 0, None
    try:
        while died.total() < kills:
            where = STEPS[(num_tried // 2) % len(STEPS)] if num_tried % 2 else "any time"
            num_tried += 1
            if kill_job(work, where, rng.uniform(0.5, LONGEST_S)):
                died[where] += 1
            else:
                endings[str(read_decisions(work / "exports" / MODEL)[-1]["outcome"])] += 1
                tell(store, pool, told)
            live_before = look(work, store, told, live_before)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{died.total()} jobs were killed: " + ", ".join(f"{count} {where}" for where, count in died.items()))
    print("those that ended: " + ", ".join(f"{count} {ending}" for ending, count in endings.items()))
    print(f"0 half states, 0 of {len(told)} acknowledged labels lost")
    print(json.dumps({"benchmark": "kills", **circumstances(), "seed": seed, "killed": died, "ended": endings}))


def prepare(work: Path, rng: random.Random) -> list[Path]:
    """A quarter of the digits is base data; returns the others."""
    folder = folder_of("digits", work / "cache")
    images = sorted(folder.glob("*/*.png"))
    rng.shuffle(images)
    base, rest = images[: len(images) // 4], images[len(images) // 4 :]
    for path in base:
        (work / "base" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, work / "base" / path.parent.name)
    (work / "job.toml").write_text(JOB)
    return rest


def tell(store: FeedbackStore, pool: list[Path], told: dict[Path, str]) -> None:
    for path in (pool.pop() for _ in range(min(BATCH, len(pool)))):
        store.add(path.read_bytes(), path.parent.name)
        told[path] = path.parent.name


def kill_job(work: Path, where: str, seconds: float) -> bool:
    """Whether it was killed; it may have ended before.

    Raises:
        ClickException: it failed.
    """
    command = [sys.executable, "-c", TO_KILL, str(work / "job.toml"), where]
    with (work / "job.log").open("wb") as log:
        job = subprocess.Popen(command, stdout=log, stderr=log)
    if where == "any time":
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(seconds)
        job.kill()
    status = job.wait()
    if status not in (0, -signal.SIGKILL):
        raise click.ClickException(f"a job failed:\n{(work / 'job.log').read_text()}")
    return status == -signal.SIGKILL


def look(work: Path, store: FeedbackStore, told: dict[Path, str], live_before: int | None) -> int | None:
    """Whether everything is whole; returns the live version.

    Raises:
        ClickException: something is not.
    """
    home = work / "exports" / MODEL
    versions = list_versions(home)
    for version in versions:
        verify(home / str(version))
    live = read_live(home).live
    if live not in (live_before, max(versions, default=None)):
        raise click.ClickException(
            f"live is {live}, which is neither the version before, {live_before}, nor the newest"
        )
    lines = (home / "decisions.jsonl").read_text().splitlines() if (home / "decisions.jsonl").exists() else []
    if len(read_decisions(home)) != len(lines):
        raise click.ClickException("a decision cannot be read")
    lost = [path for path, label in told.items() if store.add(path.read_bytes(), label) != "duplicate"]
    if lost:
        raise click.ClickException(f"{len(lost)} acknowledged labels were lost")
    return live


if __name__ == "__main__":
    main()
