"""`python -m models`: the networks in a terminal, in a pipe, and as JSON."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from models.networks.cli import LAYERS, by, main, margin
from models.networks.registry import ARCHITECTURES
from models.networks.summary import describe, outline
from tests.processes import ROOT


def models(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="module")
def listed() -> list[dict]:
    return json.loads(models("list", "--json").output)


def test_the_list_has_every_network_with_its_paper_and_its_size(listed: list[dict]) -> None:
    assert [network["name"] for network in listed] == list(ARCHITECTURES)
    (vgg16,) = (network for network in listed if network["name"] == "vgg16")
    assert vgg16 == {
        "name": "vgg16",
        "paper": "Simonyan and Zisserman, 2014",
        "url": "https://arxiv.org/abs/1409.1556",
        "input_shape": [224, 224, 3],
        "num_classes": 1000,
        "aliases": ["vgg_d"],
        "smallest": 32,
        "parameters": 138_357_544,
        "macs": 15_470_264_320,
    }


def test_a_table_in_a_pipe_has_a_line_for_each_layer_however_wide() -> None:
    result = models("describe", "alexnet_2012")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert re.split(" +", lines[0]) == list(LAYERS)
    assert lines[2].split()[1:] == ["Conv2D", "55x55x96", "11x11", "4", "2", "1", "34,944", "105,415,200", "11x11", "4"]
    assert "multiply-accumulates       724,406,816" in result.output
    assert "parameters, trained        60,965,224 (243.9 MB in float32)" in result.output
    assert "alexnet_2012, Krizhevsky et al., 2012, https://papers.nips.cc/paper/4824" in result.output
    assert "\x1b" not in result.output
    assert "│" not in result.output


def test_a_table_in_a_terminal_is_ruled() -> None:
    """A real one, made by the operating system."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "models", "describe", "lenet5"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140"}
    with subprocess.Popen(command, stdout=follower, stderr=subprocess.PIPE, env=environment) as process:
        os.close(follower)
        output = b""
        while True:
            try:
                output += os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
    os.close(leader)
    assert process.returncode == 0
    assert "│ c1" in output.decode()
    assert "416,520" in output.decode()


def test_input_and_classes_can_be_chosen() -> None:
    found = json.loads(models("describe", "vgg_d", "--input", "32x48x1", "--classes", "7", "--json").output)
    assert (found["name"], found["input_shape"], found["num_classes"]) == ("vgg16", [32, 48, 1], 7)
    assert found["rows"][-1]["output_shape"] == [7]
    assert found["rows"][1]["receptive_field"] == [3, 3]
    assert found["macs"] == describe(outline("vgg16", input_shape=(32, 48, 1), num_classes=7)).macs


def test_two_numbers_are_an_input_with_three_channels() -> None:
    assert json.loads(models("describe", "nin", "--input", "40x32", "--json").output)["input_shape"] == [40, 32, 3]


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("describe", "lenet6"), 1, "No architecture is called 'lenet6'; choose from lenet5,"),
        (("describe", "alexnet", "--input", "32x32"), 1, "alexnet needs images of at least 63x63 pixels, not 32x32."),
        (("describe", "alexnet", "--input", "large"), 2, "'large' is no input shape; give height, width and channels"),
        (("describe", "alexnet", "--input", "0x32x3"), 2, "'0x32x3' is no input shape"),
        (("describe", "alexnet", "--classes", "0"), 2, "0 is not in the range"),
        (("describe",), 2, "Missing argument 'NAME'"),
    ],
)
def test_a_mistake_ends_in_one_clear_sentence(arguments: tuple[str, ...], status: int, complaint: str) -> None:
    result = models(*arguments)
    assert result.exit_code == status
    assert complaint in result.output
    assert "Traceback" not in result.output


def test_squares_are_one_number_where_that_says_it_all() -> None:
    assert by((3, 3), squared=True) == "3"
    assert by((1, 7), squared=True) == "1x7"
    assert by((5, 5)) == "5x5"
    assert by(None) == ""
    assert margin((0, 1)) == "0+1"


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    command = f"'{sys.executable}' -m models describe resnet152 | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
