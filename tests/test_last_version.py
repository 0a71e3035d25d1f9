"""What the last version left still works: a bundle, a run that was killed, a job that was killed.

tests/fixtures/last_version.zip was made by revision 3b686bd, of 2026-11-26, in /srv/striate:

    python -m training fit --data photos --name toy --model basic_cnn --epochs 3 --publish --shift-rate 2 --decayed all
    python -m training fit --data photos --name killed ... --epochs 40 --patience 0 --checkpoint-every 0 --colour 0.05
    python -m training retrain job.toml

The last two were killed with SIGKILL, after a checkpoint and after training. The cache is left out.
"""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from models.bundle.manifest import read_manifest
from models.store.decisions import read_decisions
from models.store.history import about_version
from models.store.live import read_live
from tests.harness import running_service
from tests.processes import ROOT, environment
from training.retrain.job import read_job
from training.retrain.state import identity

FIXTURE = ROOT / "tests" / "fixtures" / "last_version.zip"
KILLED = ["--name", "killed", "--model", "basic_cnn", "--epochs", "40", "--patience", "0", "--checkpoint-every", "0"]
KILLED += ["--shift-rate", "2", "--decayed", "all", "--colour", "0.05"]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    with zipfile.ZipFile(FIXTURE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def striate(work: Path, *arguments: str) -> str:
    """What a command of training says, given in the folder as it was then."""
    done = subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        cwd=work,
        env={**environment(), "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "spy"), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_its_bundle_is_served_and_explained(work: Path) -> None:
    with running_service(work / "exports", work) as service:
        for name, label in (("0", "dark"), ("1", "light")):
            image = (work / "exports" / "toy" / "1" / "assets.extra" / "golden" / name).read_bytes()
            answer = requests.post(service.url + "/classify", data=image, timeout=10).json()
            assert (answer["model"], answer["version"], answer["predictions"][0]["label"]) == ("toy", 1, label)
        (version,) = requests.get(service.url + "/models/toy/versions", timeout=10).json()["versions"]
    assert version == about_version(work / "exports" / "toy", 1)
    assert version["settings"]["shift_rate"] == 2.0, "a record says what it said"


def test_its_killed_run_goes_on_from_its_checkpoint_under_todays_names(work: Path) -> None:
    (run,) = (work / "runs").glob("killed-*")
    said = striate(work, "fit", "--data", "photos", *KILLED)
    assert "going on from the checkpoint at epoch" in said, said
    settings = read_manifest(run / "bundle").lineage["settings"]
    assert (settings["bn_bias_lr_scale"], settings["decay_params"]) == (2, "all")
    assert settings["augmentation"]["pca_noise"] == 0.05


def test_its_killed_job_is_the_same_job_and_is_finished(work: Path) -> None:
    state = work / "exports" / "retrained" / "retrain" / "unfinished.json"
    recorded = json.loads(state.read_text())
    job = read_job(work / "job.toml")
    then = replace(job, data="/srv/striate/photos", feedback=(Path("/srv/striate/feedback/retrained/labelled"),))
    assert identity(then) == recorded["job"], "the same table in the same place is the same job"
    state.write_text(json.dumps({**recorded, "job": identity(job)}))
    striate(work, "retrain", "job.toml")
    assert read_live(job.home).live == 1
    assert [decision["outcome"] for decision in read_decisions(job.home)] == ["promoted"]
    assert not state.exists()
