"""A retraining job killed again and again: `python -m benchmarks.kills`.

Digits come in as feedback, in batches, while a job is started and killed with SIGKILL: every other time between two of
its steps, each in turn, every other time after a time drawn at random. After each kill everything is looked at: every
version verifies, the live one is the old or the new one, every decision can be read, and every image whose feedback was
acknowledged is there under its label. Every so often a job is left to end, which has to go on with what it finds.
"""

import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.processes import machine
from models.bundle import verify
from models.decisions import read_decisions
from models.exports import list_versions, read_live
from models.feedback import FeedbackStore
from training.datasets import folder_of

MODEL = "digits"
STEPS = ("looked", "prepared", "trained", "judged", "published", "live", "recorded", "finished")
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
from models.quiet import import_quietly
import_quietly("tensorflow", "keras")
from training.job import read_job
from training.retrain import retrain

def die(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

retrain(read_job(Path(sys.argv[1])), if_needed=False, console=Console(quiet=True), on_step=die)
"""
BATCH = 40  # images of feedback between one job and the next


@click.command()
@click.option("--kills", default=100, show_default=True)
@click.option("--finish-every", default=5, show_default=True, help="Kills after which a job is left to end.")
@click.option("--seed", default=0, show_default=True)
def main(kills: int, finish_every: int, seed: int) -> None:
    """Print what happened, and one line of JSON."""
    rng = random.Random(seed)
    work = Path(tempfile.mkdtemp(prefix="striate-kills-"))
    pool = prepare(work, rng)
    store = FeedbackStore(work / "feedback" / MODEL, max_bytes=10**9)
    told: dict[Path, str] = {}
    endings: collections.Counter[str] = collections.Counter()
    died: collections.Counter[str] = collections.Counter()
    longest, live_before = 15.0, None
    try:
        for i in range(kills):
            if i % finish_every == 0:
                tell(store, pool, told)
            where = STEPS[(i // 2) % len(STEPS)] if i % 2 else "any time"
            died[kill_job(work, where, rng.uniform(0.5, longest))] += 1
            live_before = look(work, store, told, live_before)
            if (i + 1) % finish_every == 0:
                began = time.monotonic()
                endings[finish_job(work)] += 1
                longest = max(10.0, time.monotonic() - began)
                live_before = look(work, store, told, live_before)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{sum(died.values())} jobs were killed: " + ", ".join(f"{count} {where}" for where, count in died.items()))
    print("those left to end: " + ", ".join(f"{count} {ending}" for ending, count in endings.items()))
    print(f"0 half states, 0 of {len(told)} acknowledged labels lost")
    print(json.dumps({"benchmark": "kills", "machine": machine(), "seed": seed, "killed": died, "ended": endings}))


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


def kill_job(work: Path, where: str, seconds: float) -> str:
    """Returns where it died; a job that ended before that is one that had nothing to do."""
    command = [sys.executable, "-c", TO_KILL, str(work / "job.toml"), where]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if where == "any time":
        time.sleep(seconds)
        job.kill()
    return where if job.wait() == -signal.SIGKILL else "at its end"


def finish_job(work: Path) -> str:
    command = [sys.executable, "-m", "training", "retrain", str(work / "job.toml")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "STRIATE_TRACEBACK": "1"})
    if done.returncode == 1:
        raise click.ClickException(f"a job that was left to end failed:\n{done.stderr}")
    return str(json.loads(done.stdout.splitlines()[-1])["outcome"])


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
