"""Units of systemd and the retraining job: they give arguments that commands take, and systemd takes them."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from service.config import Config
from service.config_file import gather
from tests.deploy.commands import parsed
from tests.processes import ROOT, environment
from training.retrain.job import read_job
from training.retrain.pipeline import EXIT_CODES

DEPLOY = ROOT / "deploy"
UNITS = ["striate-retrain@.service", "striate-retrain@.timer", "striate.service"]


def test_the_cron_job_gives_arguments_that_the_command_takes(tmp_path: Path) -> None:
    config, cron = yaml.safe_load_all((DEPLOY / "retrain-cronjob.yaml").read_text())
    job = cron["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert parsed(container["args"])["if_needed"]
    (tmp_path / "pets.toml").write_text(config["data"]["pets.toml"])
    read = read_job(tmp_path / "pets.toml")
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    for folder in (read.exports, read.runs, read.cache, Path(read.data), *read.feedback):
        assert any(folder.is_relative_to(mount) for mount in mounted), f"{folder} is on no volume"
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    (rule,) = job["podFailurePolicy"]["rules"]
    assert set(rule["onExitCodes"]["values"]) == {2, EXIT_CODES["rejected"], EXIT_CODES["rolled back"]}
    chart = yaml.safe_load((DEPLOY / "chart" / "values.yaml").read_text())
    assert chart["service"]["port"] == 80  # the port of an address that has none
    assert read.service == "http://striate"


def test_the_unit_gives_arguments_that_the_command_takes() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.read(DEPLOY / "striate-retrain@.service")
    command = unit["Service"]["ExecStart"].split("/striate ", 1)[1].replace("%i", "pets").split()
    assert parsed(command)["if_needed"]
    success = {int(code) for code in unit["Service"]["SuccessExitStatus"].split()}
    final = {int(code) for code in unit["Service"]["RestartPreventExitStatus"].split()}
    assert success == {EXIT_CODES["held"], EXIT_CODES["busy"]}
    assert success | final >= {code for code in EXIT_CODES.values() if code}


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    for name in UNITS:
        text = (DEPLOY / name).read_text().replace("/opt/striate/.venv/bin/striate", "/bin/true")
        text = text.replace("Group=striate\n", "")
        (tmp_path / name.replace("@", "@pets")).write_text(re.sub("User=striate\n", "", text))
    paths = [tmp_path / name.replace("@", "@pets") for name in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert "Unknown" not in done.stderr


def test_the_unit_of_the_service_is_shut_off_from_the_machine() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", DEPLOY / "striate.service"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stdout


def test_the_settings_of_the_unit_are_settings(tmp_path: Path) -> None:
    gathered = gather({"SERVICE_CONFIG": str(DEPLOY / "service.toml")})
    assert Config.from_environment(gathered.environment).exports == "/var/lib/striate/exports"


def test_an_outcome_that_is_fine_is_no_failure() -> None:
    with pytest.raises(click.UsageError):
        parsed(["retrain", "job.toml", "--ok", "whatever"])
    assert parsed(["retrain", "job.toml", "--ok", "held", "--ok", "busy"])["fine"] == ("held", "busy")


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_run_is_the_demo_in_the_folder_of_the_clone(tmp_path: Path) -> None:
    command = ["make", "--no-print-directory", "--old-file", ".venv/run-ready", "run", f"BIN={tmp_path}"]
    striate = tmp_path / "striate"
    striate.write_text('#!/bin/sh\necho "$*"\n')
    striate.chmod(0o755)
    assert subprocess.check_output(command, cwd=ROOT, env=environment(), text=True) == "demo --folder .\n"
