"""What several tests need and is costly to make: a really trained model, and the real service that serves it."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.processes import free_port, python, start

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
KERAS_AND_NUMPY_2 = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"  # Keras 3.15.1


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", KERAS_AND_NUMPY_2)


@dataclass(frozen=True, slots=True)
class Training:
    """What `python -m training fit --publish` left behind.

    Attributes:
        exports: with one published version of the model.
        run: the run directory.
        cache: named data sets and decoded images.
        output: what the command printed.
    """

    exports: Path
    run: Path
    cache: Path
    output: str


@pytest.fixture(scope="session")
def digits_training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """LeNet-5, trained on the 1,797 digits by the command that the documentation names; about 30 s."""
    home = tmp_path_factory.mktemp("digits")
    exports, runs, cache = home / "exports", home / "runs", home / "cache"
    command = ["fit", "--data", "digits", "--model", "lenet5", "--name", "digits", "--dropout", "0.3", "--publish"]
    output = python("-m", "training", *command, "--exports", exports, "--runs", runs, "--cache", cache)
    (run,) = runs.iterdir()
    return Training(exports, run, cache, output)


@pytest.fixture(scope="session")
def digits_exports(digits_training: Training) -> Path:
    """An exports folder with a published, really trained `digits`."""
    return digits_training.exports


@pytest.fixture(scope="session")
def digits_service(digits_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a service that serves `digits`; it must drain and end with 0 on SIGTERM."""
    log = tmp_path_factory.mktemp("service") / "log"
    url = f"http://127.0.0.1:{(port := free_port())}"
    service = start("-m", "service", log=log, SERVICE_EXPORTS=str(digits_exports), SERVICE_PORT=str(port))
    try:
        wait_until_ready(url, service, log)
        yield url
        service.terminate()
        status = service.wait(STOP_TIMEOUT_S)
        assert status == 0, f"the service ended with {status} on SIGTERM:\n{log.read_text()}"
    finally:
        service.kill()
        service.wait()


def wait_until_ready(url: str, service: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and service.poll() is None:
        try:
            if requests.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass  # nobody listens yet
        time.sleep(0.1)
    pytest.fail(f"the service was not ready within {READY_TIMEOUT_S:g} s:\n{log.read_text()}")
