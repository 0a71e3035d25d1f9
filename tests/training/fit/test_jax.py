"""The same code trains on JAX, and what it has learnt is exported by TensorFlow."""

import json
import os
import socket
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from models.bundle.manifest import verify
from tests.images import shades, write_folder
from training.network.bundle_weights import load_network

PYTHON = Path(__file__).parents[3] / ".venv-jax" / "bin" / "python"
EVERYTHING = (
    "--model",
    "lenet5",
    "--ema",
    0.5,
    "--lookahead",
    3,
    "--dropout",
    0.1,
    "--mixup",
    0.1,
    "--batch-size",
    8,
    "--epochs",
    3,
)

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="there is no JAX: make .venv-jax/ready")


def fit(folder: Path, data: Path, *flags: object, backend: str) -> Path:
    """Train with `KERAS_BACKEND`; returns the run."""
    arguments = ("--data", data, "--name", backend, *flags, "--progress", "json")
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


def test_two_processes_learn_what_one_does(data: Path, tmp_path: Path) -> None:
    """With batch normalisation, whose statistics are of the whole batch; a large rate would blow up every rounding."""
    averaged = ("--epochs", 2, "--batch-size", 8, "--lookahead", 3)
    flags = ("--model", "resnet20", *averaged, "--learning-rate", 0.0005, "--progress", "json")
    one = network_of(fit(tmp_path / "one", data, *flags, backend="jax"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    processes = []
    for rank in range(2):
        places = ("--runs", tmp_path / "two", "--cache", tmp_path / "one" / "cache")
        command = (PYTHON, "-m", "training", "fit", "--data", data, "--name", "two", "--distributed", *flags, *places)
        environment = {
            "KERAS_BACKEND": "jax",
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(rank),
        }
        processes.append(
            subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    answers = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[1][0] == ""
    (run,) = (tmp_path / "two").glob("[!.]*")
    for found, expected in zip(network_of(run).variables, one.variables, strict=True):
        rounding = 1e-4 if found.trainable else 1e-3  # deep statistics multiply the rounding of the weights before them
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=rounding)


def network_of(run: Path) -> keras.Model:
    network, _ = load_network(run / "bundle")
    return network
