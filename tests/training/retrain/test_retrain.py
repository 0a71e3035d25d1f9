"""A retraining job, by the command that people use: promoted, skipped, rejected, set aside; killed anywhere, twice at
once. Tiny digits, real training, a real service that is asked."""

import fcntl
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import training.cli.retrain  # noqa: F401 - its commands
from models.bundle.manifest import TESTED_ON, TRAINED_ON, read_images, read_manifest, write_manifest
from models.store.decisions import read_decisions, read_set_aside, read_suspected, record_decision, set_aside
from models.store.live import read_live
from models.store.publish import publish
from tests.bundles import make_bundle, verified_versions
from tests.conftest import Training
from tests.images import shades, write_folder
from tests.imported import as_imported
from tests.needs import ALL
from tests.processes import ROOT, environment, python
from training.cli.app import main
from training.data.index import BadData
from training.promotion.gate import Finding
from training.retrain.job import BadJob, read_job
from training.retrain.pipeline import retrain as run_job
from training.retrain.result import read_verdict
from training.retrain.state import Unfinished
from training.runs.directory import write_json

JOB = """
model = "digits"
data = "base"
textfile = "metrics/digits.prom"

[training]
model = "lenet5"
epochs = 4
flip = false
"""
# A job that was recorded is not done again: a kill at the very end takes a job of its own.
KILLS = [["looked", "prepared", "trained", "judged", "published", "recorded"], ["finished"]]
KILLED = """
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


def retrain(work: Path, *flags: str, status: int = 0) -> dict[str, Any]:
    """What the command says, as a job runner reads it; in this process, which has imported TensorFlow already."""
    done = CliRunner().invoke(main, ["retrain", str(work / "job.toml"), *flags])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout.splitlines()[-1])


def split_digits(training: Training) -> Iterator[tuple[str, list[Path]]]:
    for folder in sorted((training.cache / "datasets" / "digits").iterdir()):
        yield folder.name, sorted(folder.iterdir())


def new_work(training: Training, work: Path, *, share: float = 0.25) -> Path:
    """A job with a share of the digits as base data."""
    for name, images in split_digits(training):
        (work / "base" / name).mkdir(parents=True)
        for image in images[: int(share * len(images))]:
            shutil.copy(image, work / "base" / name)
    (work / "job.toml").write_text(JOB)
    return work


def give_feedback(training: Training, work: Path, begin: float, end: float, *, shuffled: bool = False) -> int:
    """Another share of the digits, as the service would have stored it."""
    rng, count = random.Random(0), 0
    for name, images in split_digits(training):
        for image in images[int(begin * len(images)) : int(end * len(images))]:
            label = str(rng.randrange(10)) if shuffled else name
            folder = work / "feedback" / "digits" / "labelled" / label
            folder.mkdir(parents=True, exist_ok=True)
            data = image.read_bytes()
            (folder / f"{hashlib.sha256(data).hexdigest()}.png").write_bytes(data)
            count += 1
    return count


@pytest.fixture(scope="module")
def turns(
    digits_training: Training, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The loop turned several times: what each job said."""
    work = new_work(digits_training, tmp_path_factory.mktemp("loop"))
    said = {"first": retrain(work), "again": retrain(work)}
    said["not needed"] = retrain(work, "--if-needed")
    give_feedback(digits_training, work, 0.25, 0.6)
    said["more"] = retrain(work, "--if-needed")
    give_feedback(digits_training, work, 0.6, 0.9, shuffled=True)
    said["poisoned"] = retrain(work, status=4)
    said["after"] = retrain(work)
    return work, said


Turns = tuple[Path, dict[str, dict[str, Any]]]


def test_the_first_model_has_to_beat_chance_and_is_promoted(turns: Turns) -> None:
    _, said = turns
    assert (said["first"]["outcome"], said["first"]["version"]) == ("promoted", 1)
    assert "Nothing was live" in said["first"]["reason"]


def test_nothing_new_is_skipped_and_not_needed(turns: Turns) -> None:
    _, said = turns
    assert said["again"]["outcome"] == "skipped"
    assert said["not needed"]["outcome"] == "not needed"


def test_more_data_make_a_better_model_that_goes_live(turns: Turns) -> None:
    work, said = turns
    assert (said["more"]["outcome"], said["more"]["version"]) == ("promoted", 2)
    assert said["more"]["champion"] == 1
    assert "better" in said["more"]["reason"]
    assert read_live(work / "exports" / "digits").live == 2


def test_shuffled_labels_are_rejected_and_set_aside(turns: Turns) -> None:
    work, said = turns
    assert said["poisoned"]["outcome"] == "rejected"
    assert "likely wrong" in said["poisoned"]["reason"]
    assert said["poisoned"]["set_aside"] == len(read_set_aside(work / "exports" / "digits")) > 400
    assert read_live(work / "exports" / "digits").live == 2
    assert said["after"]["outcome"] == "skipped"


def test_no_held_out_image_is_ever_trained_on_later(turns: Turns) -> None:
    work, _ = turns
    first, second = (read_images(work / "exports" / "digits" / str(version)) for version in (1, 2))
    held_out = first["hash"][first["side"] == TESTED_ON]
    assert len(held_out)
    assert not np.isin(held_out, second["hash"][second["side"] == TRAINED_ON]).any()
    assert np.isin(held_out, second["hash"][second["side"] == TESTED_ON]).all()


def test_every_decision_is_kept_with_its_rules(turns: Turns) -> None:
    work, _ = turns
    decisions = read_decisions(work / "exports" / "digits")
    assert [decision["outcome"] for decision in decisions] == ["promoted", "promoted", "rejected"]
    assert {finding["rule"] for finding in decisions[1]["findings"]} >= {"better", "not worse", "golden", "latency"}
    assert all(finding["reason"] for decision in decisions for finding in decision["findings"])


def test_prometheus_is_told(turns: Turns) -> None:
    work, _ = turns
    text = (work / "metrics" / "digits.prom").read_text()
    assert 'striate_retrain_outcome{model="digits",outcome="skipped"} 1.0' in text
    assert "striate_retrain_finished_seconds" in text


def test_explain_and_diff_tell_where_versions_come_from(turns: Turns) -> None:
    work, _ = turns
    exports = ("--exports", work / "exports")
    text = python("-m", "training", "explain", "digits", *exports)
    for words in ("version 2, live", "parent      version 1", "feedback", "decision    promoted", "fingerprint"):
        assert words in text
    about = json.loads(python("-m", "training", "explain", "digits/1", "--json", *exports))
    assert about["parts"] == ["previous"]
    difference = json.loads(python("-m", "training", "diff", "digits/1", "digits/2", "--json", *exports))
    assert difference["images_added"] > 400
    assert difference["accuracy"]["num_images"] > 30
    assert difference["accuracy"]["interval"][0] <= difference["accuracy"]["difference"]
    assert "points" in python("-m", "training", "diff", "digits/1", "digits/2", *exports)
    assert "no version 9" in python("-m", "training", "explain", "digits/9", *exports, status=1)


def test_a_second_job_of_the_same_model_steps_back(digits_training: Training, tmp_path: Path) -> None:
    work = new_work(digits_training, tmp_path, share=0.1)
    state = work / "exports" / "digits" / "retrain"
    state.mkdir(parents=True)
    with (state / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert retrain(work, status=5)["outcome"] == "busy"
    assert verified_versions(work / "exports" / "digits") == []


@pytest.mark.parametrize("steps", KILLS if ALL else [["trained", "published", "recorded"]], ids=lambda steps: steps[-1])
def test_a_job_that_is_killed_again_and_again_goes_on_where_it_was(
    digits_training: Training, tmp_path: Path, steps: list[str]
) -> None:
    work = new_work(digits_training, tmp_path)
    home = work / "exports" / "digits"
    for step in steps:
        command = [sys.executable, "-c", KILLED, str(work / "job.toml"), step]
        killed = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert read_live(home).live in ([1] if step in ("recorded", "finished") else [None])
    assert retrain(work)["outcome"] in ("promoted", "skipped")
    assert verified_versions(home) == [1]
    assert read_live(home).live == 1
    assert [decision["outcome"] for decision in read_decisions(home)] == ["promoted"]
    assert len(list((work / "runs").glob("[!.]*"))) == 1, "it began anew"
    assert not list(home.glob(".staging-*"))


def test_a_job_says_what_is_wrong_with_its_data(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('model = "pets"\ndata = "nowhere"\n')
    assert "is no folder" in python("-m", "training", "retrain", tmp_path / "job.toml", status=1)
    assert "TOML" in python("-m", "training", "retrain", tmp_path / "none.toml", status=2)


@pytest.mark.parametrize("setting", ["runs", "exports", "cache", "feedback"])
def test_a_job_writes_nothing_among_its_own_images(tmp_path: Path, setting: str) -> None:
    write_folder(tmp_path / "photos", {"cat": [b""], "dog": [b""]})
    value = '"photos/mine"' if setting != "feedback" else '["elsewhere", "photos/mine"]'
    (tmp_path / "job.toml").write_text(f'model = "pets"\ndata = "photos"\n{setting} = {value}\n')
    with pytest.raises(BadData, match=rf"Set {setting} to a folder outside of .*photos"):
        run_job(read_job(tmp_path / "job.toml"), if_needed=False, console=Console(quiet=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.toml", "photos"]
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["cat", "dog"]


def test_a_slip_in_the_job_freezes_nothing(digits_training: Training, tmp_path: Path) -> None:
    work = new_work(digits_training, tmp_path, share=0.1)
    job = (work / "job.toml").read_text()
    (work / "job.toml").write_text(job.replace("epochs", "epoch"))
    assert "did you mean epochs?" in python("-m", "training", "retrain", work / "job.toml", status=2)
    assert not (work / "exports" / "digits" / "retrain" / "unfinished.json").exists()
    unfinished = Unfinished(work / "exports" / "digits" / "retrain")
    unfinished.begin(read_job(work / "job.toml"), lambda step: None)  # and was killed
    (work / "job.toml").write_text(job)
    give_feedback(digits_training, work, 0.2, 0.3)
    again = Unfinished(work / "exports" / "digits" / "retrain")
    again.begin(read_job(work / "job.toml"), lambda step: None)
    assert again.said.until_ns > unfinished.said.until_ns == 0


def test_what_was_set_aside_is_remembered_and_can_be_found(turns: Turns) -> None:
    work, _ = turns
    home = work / "exports" / "digits"
    assert set(read_set_aside(home).tolist()) == set(read_suspected(home).tolist())
    (listed,) = (home / "set-aside").glob("*.txt")
    path = Path(listed.read_text().splitlines()[0].split(" ", 1)[1])
    assert path.is_file(), "who looks for the image does not find it"


def test_a_line_that_was_cut_short_costs_no_other_decision(tmp_path: Path) -> None:
    first, second, third = (
        {"at": f"2026-01-0{n}T00:00:00Z", "outcome": "held", "reason": "why", "champion": None, "findings": []}
        for n in (1, 2, 3)
    )
    record_decision(tmp_path, first)
    with (tmp_path / "decisions.jsonl").open("a") as file:
        file.write(json.dumps(second)[:40])
    record_decision(tmp_path, third)
    assert read_decisions(tmp_path) == [first, third]


@pytest.mark.parametrize("said", ["{", "[]", '{"champion": "1", "until_ns": 0, "job": "x"}', '{"job": "x"}'])
def test_what_a_cut_off_job_left_is_refused_with_a_sentence_where_it_is_damaged(tmp_path: Path, said: str) -> None:
    (tmp_path / "unfinished.json").write_text(said)
    with pytest.raises(BadJob, match=r"unfinished\.json does not say .* Delete it, and the next job begins anew"):
        Unfinished(tmp_path)


def test_a_verdict_that_is_damaged_is_refused_with_a_sentence_and_a_sound_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text('{"verdict": "perhaps", "findings": []}')
    with pytest.raises(BadJob, match=r"Invalid enum value 'perhaps' - at `\$\.verdict`"):
        read_verdict(tmp_path / "verdict.json")
    finding = Finding("better", "hold", "why", {"points": 1.5})
    write_json(tmp_path / "verdict.json", {"verdict": "hold", "findings": [asdict(finding)]})
    assert read_verdict(tmp_path / "verdict.json") == ("hold", [finding])


def test_images_set_aside_come_back_when_somebody_deletes_their_lines(tmp_path: Path) -> None:
    path = set_aside(tmp_path, "run-1", [("ab" * 32, "cat/1.png"), ("cd" * 32, "a name\udcff.png")])
    assert len(read_set_aside(tmp_path)) == 2
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert [hex(digest) for digest in read_set_aside(tmp_path)] == ["0xabababababababab"]
    path.unlink()
    assert len(read_set_aside(tmp_path)) == 0


def test_a_job_over_an_imported_model_starts_without_it_and_is_judged_all_the_same(
    digits_training: Training, tmp_path: Path
) -> None:
    work = new_work(digits_training, tmp_path, share=0.3)
    publish(as_imported(digits_training.exports / "digits" / "1", work / "imported"), work / "exports")
    (work / "job.toml").write_text(f'runs = "runs"\n{JOB}')
    done = CliRunner().invoke(main, ["retrain", str(work / "job.toml"), "--ok", "held", "--ok", "rejected"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert "version 1 was imported, and its network is not one that Striate can train" in done.output
    assert result["champion"] == 1
    rules = {finding["rule"]: finding for finding in result["findings"]}
    assert rules["hold-out"]["outcome"] == "pass"
    assert "frozen held-out images accuracy changes by" in rules["not worse"]["reason"]
    (run,) = (work / "runs").glob("digits-*")
    origin = read_manifest(run / "bundle").lineage
    assert (origin["from"], origin["parent_version"]) == (None, 1)


def test_a_job_over_a_model_with_several_labels_an_image_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    write_manifest(bundle, replace(read_manifest(bundle), task="multi_label"))
    publish(bundle, tmp_path / "exports")
    folder = write_folder(tmp_path / "base", {"cat": shades(9, 0, 99), "dog": shades(9, 100, 255)})
    (tmp_path / "job.toml").write_text(f'model = "toy"\ndata = "{folder}"\n')
    done = CliRunner().invoke(main, ["retrain", str(tmp_path / "job.toml")])
    assert done.exit_code == 1
    assert "retrain is for models that give an image one label, and toy gives it any number" in done.output
    assert not (tmp_path / "exports" / "toy" / "retrain").exists()
