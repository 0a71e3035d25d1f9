"""What is written down of a model's origin: the same for the same data, code and settings, and for no others."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from models.bundle.preprocessing import InputSpec
from tests.images import shades, write_folder
from training.config.settings import Settings
from training.data.dataset import Data, find_images, prepare
from training.runs import lineage
from training.runs.lineage import circumstances, code_fingerprint, describe, git_revision
from training.sources.labels import Labels

SPEC = InputSpec(8, 8, 1)
SETTINGS = Settings("lenet5", learning_rate=0.1)


def data_of(root: Path, cache: Path, *further: Path) -> Data:
    found = find_images(str(root), cache, further)
    return prepare(found, SPEC, cache, Console(quiet=True), fractions=(0.15, 0.15))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", {"cat": shades(30, 0, 99), "dog": shades(30, 100, 255)})


def test_a_copy_of_the_data_is_the_same_data(root: Path, tmp_path: Path) -> None:
    there = shutil.copytree(root, tmp_path / "elsewhere")
    one, other = (describe(data_of(folder, tmp_path / "cache"), SETTINGS)["data"] for folder in (root, there))
    assert one["fingerprint"] == other["fingerprint"]
    assert (one["train"] + one["val"] + one["test"], one["fractions"]) == (60, {"val": 0.15, "test": 0.15})


def test_another_label_of_one_image_makes_other_data(root: Path, tmp_path: Path) -> None:
    before = data_of(root, tmp_path / "cache").fingerprint()
    moved = sorted((root / "cat").iterdir())[0]
    moved.rename(root / "dog" / f"was-a-cat-{moved.name}")
    assert data_of(root, tmp_path / "cache").fingerprint() != before


def test_feedback_is_counted_apart(root: Path, tmp_path: Path) -> None:
    more = write_folder(tmp_path / "feedback", {"cat": shades(4, 40, 60, seed=9)})
    described = describe(data_of(root, tmp_path / "cache", more), SETTINGS)
    assert described["data"]["further_images"] == 4
    assert "further_images" not in describe(data_of(root, tmp_path / "cache"), SETTINGS)["data"]


def test_a_table_is_known_by_its_content_and_groups_by_how_they_were_made(root: Path, tmp_path: Path) -> None:
    """A table that has changed is another data set, and a run that was cut off does not go on with it."""
    table = tmp_path / "labels.csv"
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    described = []
    for comment in ("", "again"):
        table.write_text("\n".join(["file,label,note", *(f"{path},{path[:3]},{comment}" for path in paths)]))
        labels = Labels(table, group_by="[0-9]$|00[0-9]")
        found = find_images(str(root), tmp_path / "cache", labels=labels)
        data = prepare(found, SPEC, tmp_path / "cache", Console(quiet=True))
        described.append(describe(data, SETTINGS)["data"])
    one, other = described
    assert one["fingerprint"] == other["fingerprint"]
    assert one["labels"].pop("file_sha256") != other["labels"].pop("file_sha256")
    assert one["labels"] == {"file": "labels.csv", "group_by": "[0-9]$|00[0-9]"}
    assert one["num_groups"] == 10
    assert not {"labels", "num_groups"} & describe(data_of(root, tmp_path / "cache"), SETTINGS)["data"].keys()


def test_settings_and_input_are_recorded_as_they_were_used(root: Path, tmp_path: Path) -> None:
    described = describe(data_of(root, tmp_path / "cache"), replace(SETTINGS, seed=5))
    assert described["settings"]["seed"] == 5
    assert described["input_spec"] == {"height": 8, "width": 8, "channels": 1, "resize": "crop"}
    assert described["backend"] == "tensorflow"


def test_a_change_of_the_code_changes_its_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("models", "training/runs"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(lineage, "__file__", str(tmp_path / "training" / "runs" / "lineage.py"))
    before = code_fingerprint()
    assert code_fingerprint() == before
    for package in ("models", "training/runs"):
        (tmp_path / package / "code.py").write_text("x = 2\n")
        after = code_fingerprint()
        assert after != before
        before = after


def test_the_machine_and_the_libraries_are_named() -> None:
    said = circumstances()
    assert said["libraries"].keys() >= {"python", "keras", "numpy", "pillow"}
    assert said["machine"]["cores"] >= 1
    assert said["created_at"].endswith("Z")


def test_outside_a_checkout_and_without_git_there_is_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lineage, "own_code", lambda: tmp_path)  # as where a wheel is installed
        assert git_revision() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision() is None
