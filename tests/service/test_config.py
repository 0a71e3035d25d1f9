import re
import socket
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main
from service.config import BadSetting, Config


def test_defaults_hold_where_nothing_is_set():
    assert Config.from_environment({"PATH": "/bin"}) == Config()


def test_each_setting_is_read_from_its_variable():
    config = Config.from_environment(
        {"SERVICE_PORT": "9", "SERVICE_EXPORTS": "/m", "SERVICE_ENGINE": "tensorflow", "SERVICE_DEADLINE_S": "2.5"}
    )
    assert config == Config(port=9, exports=Path("/m"), engine="tensorflow", deadline_s=2.5)


def test_a_misspelt_variable_is_an_error_that_lists_the_known():
    with pytest.raises(BadSetting, match=r"SERVICE_PROT.*SERVICE_PORT"):
        Config.from_environment({"SERVICE_PROT": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("PORT", "-1"),
        ("PORT", "٨٠٠٠"),
        ("DEADLINE_S", "٢.٥"),
        ("ENGINE", "onnx"),
        ("DEADLINE_S", "nan"),
        ("DEADLINE_S", "inf"),
    ],
)
def test_a_value_that_is_not_accepted_is_an_error_that_names_it(name, value):
    with pytest.raises(BadSetting, match=f"SERVICE_{name} is '{value}'"):
        Config.from_environment({f"SERVICE_{name}": value})


def test_the_command_fails_with_one_sentence():
    result = CliRunner().invoke(main, env={"SERVICE_PROT": "1"})
    assert result.exit_code == 1
    assert result.output.startswith("Error: No setting is called SERVICE_PROT")


def test_an_address_that_is_taken_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(main, env={"SERVICE_PORT": str(taken.getsockname()[1])})
    assert result.exit_code == 1
    assert "Nothing can listen at 127.0.0.1:" in result.output


@pytest.mark.parametrize("variables", [{"SERVICE_PORT": "70000"}, {"SERVICE_HOST": "no host"}])
def test_an_address_that_is_none_is_told_at_once(variables):
    result = CliRunner().invoke(main, env=variables)
    assert result.exit_code == 1
    assert result.output.startswith("Error: Nothing can listen at ")


def test_help_and_the_operations_page_have_every_setting():
    text = CliRunner().invoke(main, ["--help"]).output
    page = Path("docs/operations.md").read_text()
    for field in fields(Config):
        assert f"SERVICE_{field.name.upper()}={field.default}" in text
        assert f"| `SERVICE_{field.name.upper()}` | " in page
    assert set(re.findall(r"`(SERVICE_[A-Z_]+)`", page)) == {
        f"SERVICE_{field.name.upper()}" for field in fields(Config)
    }
