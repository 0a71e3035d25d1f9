"""compose.yaml is what Compose takes, and gives arguments that the commands take; Docker itself runs nothing here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config import Config
from service.http.api_keys import digest_of, read_file
from service.ipc.keys import SCOPES
from tests.deploy.commands import parsed
from tests.processes import ROOT
from training.retrain.job import read_job

COMPOSE = ROOT / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
OURS = {name: said for name, said in SERVICES.items() if said["image"].startswith("striate:")}


def test_compose_takes_the_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", OURS)
def test_an_image_is_one_that_the_dockerfile_makes(name: str) -> None:
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert OURS[name]["image"].removeprefix("striate:") in targets
    if "build" in OURS[name]:
        assert OURS[name]["build"]["target"] == OURS[name]["image"].removeprefix("striate:")


def test_every_image_of_ours_is_built_by_a_service_without_a_profile_or_by_itself() -> None:
    built = {said["image"] for said in OURS.values() if "build" in said}
    assert built == {said["image"] for said in OURS.values()}


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_from_the_clone_is_there_or_is_made(name: str) -> None:
    made = {"exports", "feedback", "runs", ".cache", "."}
    for volume in SERVICES[name].get("volumes", ()):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert source.removeprefix("./") in made or (ROOT / source).exists(), source


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "folders"])
def test_a_container_can_do_little_and_writes_nowhere_else(name: str) -> None:
    said = SERVICES[name]
    assert said["read_only"]
    assert said["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in said["security_opt"]


def test_the_page_makes_keys_that_the_service_and_prometheus_take(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "compose.md").read_text()
    (block,) = re.findall(r"^```sh\n(\(\nset.*?)^```", page, re.MULTILINE | re.DOTALL)
    shutil.copytree(ROOT / "deploy" / "prometheus", tmp_path / "deploy" / "prometheus")
    (tmp_path / ".env").write_text("STRIATE_USER=1000:1000\n")
    subprocess.run(["sh", "-c", block], cwd=tmp_path, check=True)
    made = (tmp_path / "keys" / "keys.txt").read_text()
    assert subprocess.run(["sh", "-c", block], cwd=tmp_path, capture_output=True).returncode != 0
    assert (tmp_path / "keys" / "keys.txt").read_text() == made
    keys = {key.scope: key for key in read_file(tmp_path / "keys" / "keys.txt")}
    assert set(keys) == set(SCOPES)
    said = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    (job,) = yaml.safe_load((tmp_path / "keys" / "prometheus.yml").read_text())["scrape_configs"]
    for key in (said["STRIATE_SERVICE_KEY"], job["authorization"]["credentials"]):
        assert digest_of(key) == keys["predict"].digest
    assert said.keys() <= set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    override = yaml.safe_load((tmp_path / "compose.override.yaml").read_text())["services"]
    assert override.keys() <= SERVICES.keys()
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "keys" / "keys.txt", tmp_path / ".env")] == [
        0o600,
        0o600,
    ]


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for said in SERVICES.values() for port in said.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", ["striate", "striate-gpu"])
def test_the_variables_of_the_service_are_settings(name: str) -> None:
    given = {key: defaulted(str(value)) for key, value in SERVICES[name]["environment"].items()}
    config = Config.from_environment(given)
    longest = config.drain_delay_s + config.stop_timeout_s + 2
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > longest


def defaulted(text: str) -> str:
    """What Compose makes of it where the variable is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_the_first_model_is_made_by_a_command_that_there_is() -> None:
    first, *arguments = SERVICES["first-model"]["command"]
    assert parsed([first, *arguments])["train_only"]


def test_the_retraining_job_is_one_and_its_command_is(tmp_path: Path) -> None:
    job = read_job(ROOT / "deploy" / "retrain-digits.toml")
    mounted = {volume.split(":")[1] for volume in SERVICES["retrain"]["volumes"]}
    for folder in (job.exports, job.runs, job.cache, *job.feedback):
        assert any(folder.is_relative_to(mount) for mount in mounted), folder
    (text,) = SERVICES["retrain"]["command"]
    (arguments,) = re.findall(r"striate retrain ([^;]+);", text)
    assert parsed(["retrain", *arguments.split()])["if_needed"]
