"""No command looks up a name, connects to another machine, or writes into the home folder.

tests/conftest.py asks that of every command that a test runs: of `fit`, of `retrain`, of the service. Here are the spy
(tests/spy), and the commands that no other test runs in a process of its own.
"""

from pathlib import Path

import pytest

from tests.conftest import Training
from tests.processes import HOME, gone_astray, python


def test_the_spy_notices_a_name_that_is_looked_up_and_a_connection() -> None:
    code = """
import socket
for call in (
    lambda: socket.getaddrinfo("localhost", 80),
    lambda: socket.getaddrinfo("www.example.org", 80),
    lambda: socket.socket().connect(("192.0.2.1", 80)),
):
    try:
        call()
    except OSError as error:
        print(error)
"""
    said = python("-c", code)
    assert said.count("The tests let nobody out") == 2
    name, address = gone_astray()
    assert name.startswith("socket.getaddrinfo www.example.org: ")
    assert address.startswith("socket.connect 192.0.2.1: ")


def test_the_spy_notices_a_file_in_the_home_folder() -> None:
    python("-c", "import pathlib; (pathlib.Path.home() / '.telemetry').mkdir()")
    assert gone_astray() == [str(HOME / ".telemetry")]


@pytest.mark.parametrize(
    "command",
    [
        ("models", "describe", "lenet5"),
        ("training", "audit", "digits", "--cache", "{cache}"),
        ("training", "evaluate", "{run}", "--data", "digits", "--cache", "{cache}"),
        ("training", "quantize", "{run}", "--data", "digits", "--cache", "{cache}", "--max-drop", "1", "-o", "{new}"),
        ("service", "score", "{run}", "{cache}/datasets/digits/0", "-o", "{new}.csv"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_stays_on_this_machine(command: tuple[str, ...], digits_training: Training, tmp_path: Path) -> None:
    places = {"cache": digits_training.cache, "run": digits_training.run, "new": tmp_path / "new"}
    python("-m", *(argument.format(**places) for argument in command))
    assert gone_astray() == []
