"""The same code trains on JAX, and what it has learnt is exported by TensorFlow."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from models.bundle import verify
from tests.images import shades, write_folder

PYTHON = Path(__file__).parents[2] / ".venv-jax" / "bin" / "python"
EVERYTHING = ("--ema", 0.5, "--lookahead", 3, "--dropout", 0.1, "--mixup", 0.1, "--batch-size", 8, "--epochs", 3)

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="there is no JAX: make .venv-jax/ready")


def fit(folder: Path, data: Path, *flags: object, backend: str) -> Path:
    """Train with `KERAS_BACKEND`; returns the run."""
    arguments = ("--data", data, "--model", "lenet5", "--name", backend, *flags, "--progress", "json")
    places = ("--runs", folder / "runs", "--cache", folder / "cache")
    command = [str(part) for part in (PYTHON, "-m", "training", "fit", *arguments, *places)]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout.splitlines()[-1])["run"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    classes = {"dark": shades(40, 0, 140), "light": shades(40, 110, 255)}
    return write_folder(tmp_path_factory.mktemp("jax") / "data", classes)


def test_jax_learns_what_tensorflow_learns_and_its_export_answers_alike(data: Path, tmp_path: Path) -> None:
    accuracies = {}
    for backend in ("jax", "tensorflow"):
        manifest = verify(fit(tmp_path, data, *EVERYTHING, backend=backend) / "bundle")
        accuracies[backend] = manifest.metrics["test"]["accuracy"]
        assert manifest.metrics["parity"]["max_difference"] < 1e-4
    assert accuracies["jax"] == pytest.approx(accuracies["tensorflow"], abs=0.1)
    assert accuracies["jax"] > 0.8
