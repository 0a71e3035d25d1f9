"""What a command says of mistakes and of Ctrl-C: a sentence for what the user can mend, a traceback for our faults."""

import signal
import subprocess
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import training.cli.retrain  # noqa: F401 - its commands
from models.errors import Failed, UserError
from models.process.interrupt import INTERRUPTED
from models.store.publish import publish
from tests.bundles import make_bundle
from tests.images import shades, write_folder
from tests.processes import gone_astray, python, start
from training.cli.app import main

TIMEOUT_S = 120


def striate(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """Two versions of the model `toy`."""
    bundle = make_bundle(tmp_path / "made")
    for _ in range(2):
        publish(bundle, tmp_path / "exports")
    return tmp_path / "exports"


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "{bundle}", "--data", "digits"),
        ("quantize", "{bundle}", "--data", "digits"),
        ("filters", "{bundle}"),
        ("publish", "{bundle}"),
        ("fit", "--data", "digits", "--name", "next", "--from", "{bundle}"),
    ],
    ids=lambda command: command[0],
)
def test_who_forgets_the_version_is_told_which_there_are(command: tuple[str, ...], exports: Path) -> None:
    home = exports / "toy"
    said = striate(*(argument.format(bundle=home) for argument in command))
    assert said.exit_code == 1
    versions = f"{home / '1'}, {home / '2'}"
    assert (
        said.output == f"Error: {home} is the folder of a model, not a bundle. Give one of its versions: {versions}.\n"
    )


def test_who_forgets_the_model_as_well_is_told_of_one(exports: Path) -> None:
    said = striate("filters", exports)
    assert (
        f"is a folder of models, not a bundle. Give a version of a model, such as {exports / 'toy' / '2'}."
        in said.output
    )


def test_a_data_set_that_cannot_be_downloaded_is_said_in_a_sentence(tmp_path: Path) -> None:
    places = [f"--{name}={tmp_path / name}" for name in ("cache", "runs", "exports")]
    said = python("-m", "training", "fit", "--data", "cifar10", "--name", "ten", *places, status=1)
    error = said.splitlines()[-1]
    assert error.startswith("Error: The data set cifar10 could not be downloaded (")
    assert "a folder that has a folder of images for each class, or digits, which needs no download" in error
    assert "Traceback" not in said
    (attempt,) = gone_astray()  # the download itself, and nothing in the home folder
    assert attempt.startswith("socket.getaddrinfo www.cs.toronto.edu: ")


def test_a_learning_rate_is_not_suggested_where_the_loss_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *_, **__: {"loss": np.nan})
    data = write_folder(tmp_path / "data", {"dark": shades(20, 0, 90), "light": shades(20, 160, 255)})
    said = striate("lr-find", data, "--model", "lenet5", "--cache", tmp_path / "cache", "-o", tmp_path / "lr.svg")
    assert said.exit_code == 1
    assert "No learning rate can be suggested: the loss is nan at the first step, at a rate of 1e-06." in said.output
    assert not (tmp_path / "lr.svg").exists()


def test_a_backend_that_keras_has_and_striate_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    said = striate("preview", "digits")
    assert (said.exit_code, said.output) == (1, "Error: KERAS_BACKEND is 'torch'; it can be tensorflow or jax.\n")


def test_a_job_that_is_not_there_is_a_wrong_command(tmp_path: Path) -> None:
    said = striate("retrain", tmp_path / "nope.toml")
    assert said.exit_code == 2
    assert f"There is no file {tmp_path / 'nope.toml'}. Give a job's TOML file" in said.output


def test_a_tilde_before_the_name_of_nobody_is_said(tmp_path: Path) -> None:
    said = striate("audit", "~photos/pets", "--cache", tmp_path / "cache")
    assert said.exit_code == 1
    assert "~photos/pets begins with ~ and an unknown user name; did you mean ~/photos/pets?" in said.output


def test_that_a_decoding_process_was_ended_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said = recipes_that_raise(BrokenProcessPool(), monkeypatch)
    assert said.exit_code == 1
    assert "was ended from outside, probably because there is not enough memory" in said.output


@pytest.mark.parametrize("fault", [UserError, Failed, OSError, MemoryError])
def test_what_the_user_can_mend_is_said_in_a_sentence(fault: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    said = recipes_that_raise(fault("Something is wrong."), monkeypatch)
    assert said.exit_code == 1
    assert "Something is wrong." in said.output
    assert isinstance(said.exception, SystemExit)


@pytest.mark.parametrize("fault", [ValueError, RuntimeError, KeyError, TypeError])
def test_a_fault_of_the_code_keeps_its_traceback(fault: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    said = recipes_that_raise(fault("a slip"), monkeypatch)
    assert said.exit_code == 1
    assert type(said.exception) is fault


def recipes_that_raise(error: Exception, monkeypatch: pytest.MonkeyPatch) -> Result:
    def fail() -> list[str]:
        raise error

    monkeypatch.setattr("training.cli.fit.recipe_names", fail)
    return striate("recipes")


# Ctrl-C


@pytest.mark.parametrize(
    ("command", "imported"),
    [
        ("models list", "click"),
        ("models list", "tensorflow.python"),
        ("training recipes", "training.cli.retrain"),
        ("training preview digits", "tensorflow.python"),
        ("service", "click"),
        ("service", "service.supervisor.supervisor"),
    ],
)
def test_ctrl_c_while_modules_are_imported_ends_a_command_without_a_traceback(command: str, imported: str) -> None:
    package, *arguments = command.split()
    code = f"""
import os, runpy, signal, sys
sys.addaudithook(
    lambda event, about: os.kill(os.getpid(), signal.SIGINT) if (event, about[0]) == ("import", {imported!r}) else None
)
sys.argv = {[package, *arguments]}
runpy.run_module({package!r}, run_name="__main__", alter_sys=True)
"""
    assert python("-c", code, status=INTERRUPTED) in ("", "Interrupted.\n")


def test_ctrl_c_in_fit_ends_with_130_and_names_the_command_that_continues(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "some data", {"dark": shades(30, 0, 90), "light": shades(30, 160, 255)})
    places = [f"--{name}={tmp_path / name}" for name in ("cache", "runs", "exports")]
    flags = ["--model", "lenet5", "--epochs", "500", "--patience", "0", *places]
    command = ["training", "fit", "--fresh", "--data", data, "--name", "toy", *flags]
    process = start("-m", *command, log=tmp_path / "log")
    try:
        wait_for(lambda: "epoch   " in (tmp_path / "log").read_text(), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == INTERRUPTED
    finally:
        process.kill()
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        f"Interrupted. Continue with: python -m training fit --data '{data}' --name toy {' '.join(flags)}"
    )


def test_ctrl_c_is_nothing_to_a_job_in_the_background_of_a_script() -> None:
    """A shell without job control has such jobs ignore it, and so do we."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import os, runpy, sys; "
    code += "sys.argv = ['models', '--help']; from models.process.interrupt import *; handle_interrupt(end_at_once); "
    code += "os.kill(os.getpid(), signal.SIGINT); runpy.run_module('models', run_name='__main__')"
    assert "The networks" in python("-c", code)


def wait_for(condition, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, "the command ended"
        assert time.monotonic() < deadline
        time.sleep(0.02)
