"""What the images install: locked by checksums, and listed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.processes import ROOT

NAMES = ["requirements-service", "requirements", "requirements-gpu"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\#]+)", re.MULTILINE)


def pins(path: Path) -> set[tuple[str, str]]:
    return {
        (name.lower().replace("_", "-"), version) for name, version in PIN.findall(path.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_file_has_every_pin_and_the_checksums_of_every_package(name: str) -> None:
    wanted = pins(ROOT / f"{name}.txt") | pins(ROOT / "requirements-service.txt")
    lock = ROOT / f"{name}.lock"
    assert wanted <= pins(lock), "deploy/lock.sh writes the lock files"
    packages = re.split(r"^(?=[A-Za-z0-9])", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


@pytest.mark.parametrize("name", ["requirements", "requirements-gpu"])
def test_a_lock_file_of_a_larger_image_has_what_the_first_stage_installs(name: str) -> None:
    assert pins(ROOT / "requirements-service.lock") <= pins(ROOT / f"{name}.lock")


def test_tensorflow_on_gpus_is_the_one_that_exports() -> None:
    found = {
        version
        for name in ("requirements.txt", "requirements-gpu.txt")
        for package, version in pins(ROOT / name)
        if package in ("tensorflow", "tensorflow-cpu")
    }
    assert len(found) == 1


def test_a_lock_file_names_no_index_and_no_folder() -> None:
    for name in NAMES:
        text = (ROOT / f"{name}.lock").read_text(encoding="utf-8")
        assert not re.search(r"--(extra-)?index-url|--find-links|file:|https?://", text)


def test_the_list_of_an_image_is_a_cyclonedx_document_of_its_packages(tmp_path: Path) -> None:
    root = tmp_path / "image-root"
    (root / "opt").mkdir(parents=True)
    (root / "opt" / "striate").symlink_to(sys.prefix)
    (root / "var" / "lib" / "dpkg").mkdir(parents=True)
    (root / "var" / "lib" / "dpkg" / "status").write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n"
    )
    command = [sys.executable, "-W", "error", "deploy/sbom.py", str(root)]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    purls = {component["purl"] for component in json.loads(text)["components"]}
    assert "pkg:deb/debian/libc6@2.36-9?arch=amd64" in purls
    assert {f"pkg:pypi/{name}@{version}" for name, version in pins(ROOT / "requirements-service.txt")} <= purls
    assert not any("gone" in purl for purl in purls)
