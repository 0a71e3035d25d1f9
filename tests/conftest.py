"""What several tests need and is costly to make: a really trained model, and the real service that serves it."""

import fcntl
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import STOP_TIMEOUT_S, running_service, stopping
from tests.processes import gone_astray, python

LONGEST = (  # files, the longest first
    *("test_benchmarks", "test_retrain", "test_every_network", "test_resume", "test_rollout", "test_lifecycle"),
    *("test_score", "test_cli", "test_page", "test_mistakes", "test_engines", "test_offline", "test_http", "test_look"),
)
KERAS_AND_NUMPY_2 = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"  # Keras 3.15.1


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", KERAS_AND_NUMPY_2)
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # as under nohup and in the background of a script
            signal.signal(number, signal.SIG_DFL)  # what tests start has to heed them


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin, so that several processes end at about the same time."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def nobody_out() -> Iterator[None]:
    """No command that a test runs looks up a name, connects to another machine, or writes into the user's home."""
    yield
    assert gone_astray() == []


@pytest.fixture(scope="session", autouse=True)
def every_service_ends() -> Iterator[None]:
    """One that a test asked to stop does so while other tests run."""
    yield
    for process in stopping:
        process.wait(STOP_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Training:
    """What `striate train --publish` left behind.

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
    """LeNet-5, trained on the 1,797 digits by the command that the documentation names; about 30 s.

    Made once, by the first of pytest's processes that wants it; the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "digits"
    home.mkdir(exist_ok=True)
    exports, runs, cache, said = (home / name for name in ("exports", "runs", "cache", "said"))
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            flags = ["--dropout", "0.3", "--epochs", "30", "--publish"]
            command = ["fit", "--data", "digits", "--model", "lenet5", "--name", "digits", *flags]
            places = ["--exports", exports, "--runs", runs, "--cache", cache]
            said.write_text(python("-m", "training", *command, *places))
    (run,) = runs.glob("[!.]*")
    return Training(exports, run, cache, said.read_text())


@pytest.fixture(scope="session")
def digits_exports(digits_training: Training) -> Path:
    """An exports folder with a published, really trained `digits`."""
    return digits_training.exports


@pytest.fixture(scope="session")
def digits_service(digits_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a service that serves `digits`; it must drain and end with 0 on SIGTERM."""
    with running_service(digits_exports, tmp_path_factory.mktemp("service")) as service:
        yield service.url
        assert service.stop() == 0, service.log()
