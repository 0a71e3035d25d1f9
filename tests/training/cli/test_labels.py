"""Tables of labels, groups and archives, as a person types them."""

import json
import re
import zipfile
from pathlib import Path

import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from models.bundle.manifest import verify
from tests.images import encode, shades
from tests.training.predictions import read_predictions
from training.cli.app import main

PATIENT = re.compile(r"p\d+")


def striate(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip file of 80 images of 20 patients in one folder; a table beside it names them without extension."""
    home = tmp_path_factory.mktemp("clinic")
    images = {
        f"p{i:02}_{kind}{j}": image
        for kind, low, high in (("dark", 0, 100), ("light", 120, 255))
        for i in range(20)
        for j, image in enumerate(shades(2, low, high, seed=2 * i + (low > 0)))
    }
    with zipfile.ZipFile(home / "scans.zip", "w") as archive:
        for name, image in images.items():
            archive.writestr(f"scans/{name}.png", encode(image))
    rows = [f'"{name.split("_")[1][:-1]}";{name};{name[:3]}' for name in reversed(images)]
    (home / "labels.csv").write_text("\ufeff" + "\r\n".join(["diagnosis;image_id;patient", *rows]), encoding="utf-8")
    return home / "scans.zip"


def places(home: Path) -> list[str]:
    return [f"--{name}={home / name}" for name in ("runs", "cache", "exports")]


def test_fit_trains_on_an_archive_with_a_table_and_keeps_patients_on_one_side(packed: Path, tmp_path: Path) -> None:
    table = packed.with_name("labels.csv")
    given = ("--labels", table, "--group-column", "patient", "--predictions", "parquet", "--epochs", 1)
    done = striate("fit", "--data", packed, "--name", "toy", "--model", "lenet5", *places(tmp_path), *given)
    assert done.exit_code == 0, done.output
    assert "80 images in 2 classes as 32x32x1: 56 to train, 12 to validate, 12 to test" in done.output
    assert "split by 20 groups" in done.output
    assert "images from column image_id, classes from column diagnosis, groups from column patient" in done.output
    (run,) = (tmp_path / "runs").glob("toy-*")
    tested = {PATIENT.findall(path)[0] for path in read_predictions(run / "predictions.csv").paths}
    assert len(tested) == 3
    assert pyarrow.parquet.read_table(run / "predictions.parquet").num_rows == 12
    data = verify(run / "bundle").lineage["data"]
    assert (data["source"], data["num_groups"], data["labels"]["group_column"]) == (str(packed), 20, "patient")
    assert "20 groups" in (run / "report.html").read_text(encoding="utf-8")
    arguments = ("evaluate", run, "--data", packed, "--labels", table, "--cache", tmp_path / "cache")
    measured = striate(*arguments, "--json")
    assert measured.exit_code == 0, measured.output
    assert json.loads(measured.stdout)["num_images"] == 80
    assert "classes from column diagnosis" in measured.stderr


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--label-column", "diagnosis"], "A label column was given, but no table"),
        (["--group-by", "("], "'(', by which to group, is no regular expression"),
        (["--labels", "labels.csv", "--group-by", "p", "--group-column", "patient"], "give one of them"),
    ],
)
@pytest.mark.parametrize("command", [("fit", "--name", "toy", "--data"), ("audit",), ("lr-find",)])
def test_flags_that_do_not_go_together_are_a_wrong_command(
    packed: Path, tmp_path: Path, command: tuple[str, ...], flags: list[str], complaint: str
) -> None:
    done = striate(*command, packed, "--cache", tmp_path / "cache", *flags)
    assert done.exit_code == 2
    assert complaint in done.output


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--labels", "nowhere.csv"], "There is no file nowhere.csv, neither here nor in "),
        (["--labels", "TABLE", "--label-column", "dx"], "labels.csv has no column 'dx', which --label-column names."),
        (["--labels", "TABLE", "--split-column", "patient"], "has the split 'p"),
        (["--labels", "TABLE", "--group-by", "q[0-9]"], "'q[0-9]', by which to group images, is found in none"),
    ],
)
def test_what_does_not_fit_the_data_ends_in_a_sentence(
    packed: Path, tmp_path: Path, flags: list[str], complaint: str
) -> None:
    table = str(packed.with_name("labels.csv"))
    given = [table if flag == "TABLE" else flag for flag in flags]
    done = striate("audit", packed, "--cache", tmp_path / "cache", *given)
    assert done.exit_code == 1
    assert complaint in done.output
    assert "Traceback" not in done.output


def test_a_dry_run_reads_the_table_and_remembers_nothing(packed: Path, tmp_path: Path) -> None:
    given = ("--labels", packed.with_name("labels.csv"), "--group-by", "p[0-9]+", "--dry-run")
    done = striate("fit", "--data", packed, "--name", "toy", "--model", "lenet5", *places(tmp_path), *given)
    assert done.exit_code == 0, done.output
    assert "groups by the pattern p[0-9]+: 20, each on one side of the split" in done.output
    assert not (tmp_path / "runs").exists()
