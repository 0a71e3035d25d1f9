"""Processes of our own code: they find it, whatever lies in the folder that they are started in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.process.children import own_code, python_command, python_environment
from tests.images import two_shades, write_folder
from tests.processes import ROOT
from tests.striate.foreign import write_foreign_modules

UNGUARDED = """
from pathlib import Path
from models.bundle.preprocessing import InputSpec
from training.data.decoded import decode_all
from training.data.index import index_folder

print("started")
index = index_folder(Path("images"))
print(len(decode_all(index, InputSpec(8, 8, 1), Path("cache")).images))
"""


def test_a_child_runs_our_module_in_a_folder_with_modules_of_the_same_names(tmp_path: Path) -> None:
    write_foreign_modules(tmp_path)
    command, environment = python_command("models.networks.cli"), python_environment({"PATH": os.defpath})
    assert subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True).returncode == 0


def test_what_the_user_has_on_the_path_stays_behind_ours() -> None:
    assert own_code() == ROOT
    assert python_environment({"PYTHONPATH": "theirs"})["PYTHONPATH"] == f"{ROOT}{os.pathsep}theirs"
    assert python_environment({})["PYTHONPATH"] == str(ROOT)


@pytest.mark.parametrize("how", ["a file", "standard input"])
def test_a_script_without_a_guard_decodes_in_several_processes_and_starts_only_once(how: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "images", two_shades(80))
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    command = [sys.executable, *([str(script)] if how == "a file" else ["-"])]
    done = subprocess.run(
        command, env=python_environment(), cwd=tmp_path, input=script.read_text(), text=True, capture_output=True
    )
    assert done.stdout == "started\n160\n", done.stderr
