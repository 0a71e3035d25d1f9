"""The command `striate`: it lists every command, imports only what is used, and says what is not installed."""

from pathlib import Path

import click
import pytest
import requests
from click.testing import CliRunner, Result

import models.networks.cli
import service.cli.app
import training.cli.app
from striate import __version__
from striate.cli import COMMANDS, main
from striate.demo import opens_feedback
from tests.harness import RunningService, status_of, wait_until
from tests.processes import free_port, python, start

RENAMED = {"fit": "train", "list": "networks"}  # names in a clone: their names in `striate`


def striate(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_every_command_of_a_clone_is_a_command_of_striate() -> None:
    groups: tuple[click.Group, ...] = (training.cli.app.main, service.cli.app.main, models.networks.cli.main)
    names = {RENAMED.get(name, name) for group in groups for name in group.commands}
    assert names == set(COMMANDS) - {"demo", "completion"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_under_its_own_name(name: str) -> None:
    said = striate(name, "--help")
    assert said.exit_code == 0
    assert said.output.startswith(f"Usage: main {name} ")


def test_help_lists_every_command_with_its_first_sentence() -> None:
    said = striate("--help").output
    assert all(f"\n  {name} " in said for name in COMMANDS)
    assert "Train a network and export it as a verified bundle." in said


def test_the_version_is_said() -> None:
    assert striate("--version").output == f"striate {__version__}\n"


def test_a_misspelt_command_is_answered_with_the_one_that_was_meant() -> None:
    said = striate("trian")
    assert said.exit_code == 2
    assert "There is no command 'trian'. Did you mean train?" in said.output


WITHOUT_RICH = """
import sys
sys.modules["rich"] = None  # as where `pip install striate` has installed what serves on a CPU, and nothing that trains
from striate.cli import main
main(sys.argv[1:], prog_name="striate")
"""


def test_a_command_whose_packages_are_not_installed_says_which_extra_brings_them() -> None:
    said = python("-c", WITHOUT_RICH, "train", "--data", "digits", "--name", "x", status=1)
    assert said == "Error: This needs rich, which is not installed here: pip install 'striate[train]'.\n"
    listed = python("-c", WITHOUT_RICH, "--help")
    assert "  train           Not installed: pip install 'striate[train]'." in listed
    assert "  models    List the models" in listed


WITHOUT_TRAINING = """
import sys

class Absent:  # as in the images that only serve
    @staticmethod
    def find_spec(name, *_):
        if name == "training":
            raise ModuleNotFoundError("No module named 'training'", name=name)

sys.meta_path.insert(0, Absent)
from striate.cli import main
main(sys.argv[1:], prog_name="striate")
"""


def test_an_installation_that_only_serves_says_where_the_other_commands_are() -> None:
    said = python("-c", WITHOUT_TRAINING, "train", "--data", "digits", status=1)
    assert said.startswith("Error: This installation only serves. The image `training` and an installation by pip have")
    assert "  models    List the models" in python("-c", WITHOUT_TRAINING, "--help")


EVERY_HELP = """
import sys
from click.testing import CliRunner
from striate.cli import COMMANDS, main
from striate.demo import opens_feedback
for name in ("--help", *COMMANDS):
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0, name
print(*sorted(name for name in ("keras", "tensorflow", "openvino", "sklearn") if name in sys.modules))
"""


def test_help_loads_no_library_of_networks() -> None:
    """Commands import a module lazily only once: a second import executed it, which took seconds, and broke Keras."""
    assert python("-c", EVERY_HELP).strip() == ""


@pytest.mark.parametrize(("shell", "line"), [("bash", "complete -o nosort"), ("zsh", "compdef"), ("fish", "complete")])
def test_shells_learn_to_complete_commands(shell: str, line: str) -> None:
    assert line in striate("completion", shell).output


def test_a_shell_is_told_the_commands_that_begin_so() -> None:
    said = python("-c", COMPLETE)
    assert [line.partition(",")[2] for line in said.split()] == ["models"]


COMPLETE = """
import os, sys
os.environ.update(_STRIATE_COMPLETE="bash_complete", COMP_WORDS="striate mod", COMP_CWORD="1")
from striate.cli import main
main(prog_name="striate")
"""


def test_serve_listens_where_its_flags_say(digits_exports: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    arguments = ("-m", "striate", "serve", "--host", "127.0.0.2", "--port", port)
    process = start(*arguments, log=log, SERVICE_EXPORTS=str(digits_exports), SERVICE_FEEDBACK="", SERVICE_PORT="1")
    running = RunningService(process, f"http://127.0.0.2:{port}", log)
    try:
        wait_until(lambda: status_of(running, "/readyz") == 200, running)
        assert requests.get(f"{running.url}/v1/models", timeout=5).ok
    finally:
        assert running.stop() == 0, running.log()


def test_a_port_that_is_none_is_refused() -> None:
    said = striate("serve", "--port", "70000")
    assert said.exit_code == 2
    assert "1<=x<=65535" in said.output


def test_the_demo_serves_the_model_that_is_there(digits_exports: Path, tmp_path: Path) -> None:
    """Without one it trains it first; tests/test_wheel.py does that."""
    (tmp_path / "exports").symlink_to(digits_exports)
    port, log = free_port(), tmp_path / "log"
    process = start("-m", "striate", "demo", "--folder", tmp_path, "--port", port, log=log)
    running = RunningService(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: status_of(running, "/readyz") == 200, running)
        assert "feedback is open" in running.log()
    finally:
        assert running.stop() == 0, running.log()


@pytest.mark.parametrize(
    ("host", "variables", "is_open"),
    [
        (None, {}, True),
        (None, {"SERVICE_FEEDBACK_OPEN": "0"}, False),
        ("0.0.0.0", {}, False),
        (None, {"SERVICE_HOST": "0.0.0.0"}, False),
        (None, {"SERVICE_FEEDBACK_KEYS": "k" * 16}, False),
        (None, {"SERVICE_KEYS_FILE": "keys"}, False),
        (None, {"SERVICE_FEEDBACK": ""}, False),
    ],
)
def test_the_demo_opens_feedback_on_this_machine_alone(
    host: str | None, variables: dict[str, str], *, is_open: bool
) -> None:
    assert opens_feedback(host, variables) == is_open
