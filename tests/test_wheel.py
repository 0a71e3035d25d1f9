"""The installed wheel: all packages lie under `striate`, and work beside modules of the user with the same names."""

import ast
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from setup import renamed
from tests.harness import RunningService, status_of, wait_until
from tests.images import two_shades, write_folder
from tests.needs import LONG
from tests.processes import ROOT, free_port
from tests.striate.foreign import NAMES, write_foreign_modules

SCRIPT = """
import striate

run = striate.train("data", "shades", model="lenet5", epochs=3, size=32, dropout=0.0, progress="quiet", publish=True)
print(run.load().classify("data/dark/000.png").label)
"""
FOREIGN_MODEL = """
import keras
layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
keras.Sequential(layers).save("theirs.keras")
"""


@pytest.fixture(scope="module")
def python_of_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel and, of the packages of these tests, all but the clone."""
    home = tmp_path_factory.mktemp("wheel")
    wheels, environment = home / "wheels", home / "venv"
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    build = (*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", wheels, ROOT)
    subprocess.run(build, check=True, cwd=home)
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    (wheel,) = wheels.iterdir()
    subprocess.run((*pip[:3], "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel), check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))  # its own .pth files are not read
    return python


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a user, with images and foreign modules."""
    write_foreign_modules(tmp_path)
    write_folder(tmp_path / "data", two_shades(80))
    return tmp_path


def run(python: Path, folder: Path, *arguments: object, script: str | None = None, status: int = 0) -> str:
    """`striate ARGUMENTS`, or a script from standard input, in the user's folder."""
    command = [python, "-"] if script else [python.with_name("striate"), *arguments]
    done = subprocess.run(
        list(map(str, command)), cwd=folder, input=script, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def test_a_wheel_has_one_top_level_package(python_of_wheel: Path) -> None:
    (packages,) = python_of_wheel.parents[1].glob("lib/python*/site-packages")
    assert {path.name for path in packages.iterdir() if path.is_dir() and "-" not in path.name} == {"striate"}
    found = {path.name for path in (packages / "striate").iterdir()}
    assert {*NAMES, "py.typed"} <= found
    assert (packages / "striate" / "service" / "static" / "index.html").exists()


def test_no_import_in_a_wheel_names_a_package_that_is_not_there(python_of_wheel: Path) -> None:
    (packages,) = python_of_wheel.parents[1].glob("lib/python*/site-packages")
    for path in (packages / "striate").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.partition(".")[0] in NAMES], path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from models.errors import Failed", "from striate.models.errors import Failed"),
        ("import models", "import striate.models as models"),
        ("import training.cli.app as app", "import striate.training.cli.app as app"),
        ("    # é\nrun('service.engine', 'é')", "    # é\nrun('striate.service.engine', 'é')"),
        ("x = 'service.worker.wsgi:application'", "x = 'striate.service.worker.wsgi:application'"),
        ("x = 'models', 'training.toml', 'service'", "x = 'models', 'training.toml', 'service'"),
        ("from striate.api import load", "from striate.api import load"),
        ("from modelsuite import x", "from modelsuite import x"),
    ],
)
def test_only_names_of_our_modules_are_changed(before: str, after: str) -> None:
    assert renamed(before.lstrip().encode()).decode() == after.lstrip()


def test_an_import_that_would_bind_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"import models\.errors binds a top-level name"):
        renamed(b"import models.errors")


def test_a_notebook_trains_and_classifies_beside_modules_of_the_same_names(python_of_wheel: Path, folder: Path) -> None:
    """A script from standard input has the folder on its path and no file, as a notebook has."""
    assert run(python_of_wheel, folder, script=SCRIPT).splitlines()[-1] == "dark"


@LONG
def test_every_step_from_images_to_answers_works_beside_modules_of_the_same_names(
    python_of_wheel: Path, folder: Path
) -> None:
    flags = ("--model", "lenet5", "--epochs", "3", "--size", "32", "--dropout", "0")
    run(python_of_wheel, folder, "train", "--data", "data", "--name", "shades", *flags, "--publish")
    run(python_of_wheel, folder, "quantize", "exports/shades/1", "--data", "data", "--max-drop", "1")
    run(python_of_wheel, folder, script=FOREIGN_MODEL)
    run(python_of_wheel, folder, "import", "theirs.keras", "--name", "theirs", "--scaling", "unit", "--publish")
    run(python_of_wheel, folder, "score", "exports/shades/1", "data", "-o", "answers.csv")
    (folder / "job.toml").write_text('model = "shades"\ndata = "data"\nfeedback = []\n[training]\nepochs = 1\n')
    run(python_of_wheel, folder, "retrain", "job.toml", status=3)
    assert {"shades, default", "theirs"} <= set(run(python_of_wheel, folder, "models").splitlines())
    port, log = free_port(), folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python_of_wheel.with_name("striate"), "serve", "--port", str(port)],
            cwd=folder,
            env={**os.environ, "SERVICE_FEEDBACK": ""},
            stdout=output,
            stderr=output,
        )
    running = RunningService(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: status_of(running, "/readyz") == 200, running)
    finally:
        assert running.stop() == 0, running.log()


@LONG
def test_the_demo_trains_its_model_and_serves_it(python_of_wheel: Path, folder: Path) -> None:
    port, log = free_port(), folder / "log"
    with log.open("wb") as output:
        command = [python_of_wheel.with_name("striate"), "demo", "--port", str(port)]
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    running = RunningService(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: status_of(running, "/readyz") == 200, running, 180)
        assert (folder / "striate-demo" / "exports" / "digits" / "1").is_dir()
    finally:
        assert running.stop() == 0, running.log()
