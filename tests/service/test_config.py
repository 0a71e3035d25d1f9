import socket
from dataclasses import fields

import pytest
from click.testing import CliRunner

from service.cli.app import main
from service.config import BadSetting, Config, accepted, strangers, variable


def test_defaults_hold_where_nothing_is_set():
    assert Config.from_environment({"PATH": "/bin"}) == Config()


def test_each_setting_is_read_from_its_variable():
    config = Config.from_environment(
        {"SERVICE_PORT": "9", "SERVICE_EXPORTS": "/m", "SERVICE_ENGINE": "tensorflow", "SERVICE_DEADLINE_S": "2.5"}
    )
    assert config == Config(port=9, exports="/m", engine="tensorflow", deadline_s=2.5)


def test_a_misspelt_variable_is_an_error_that_lists_the_known():
    with pytest.raises(BadSetting, match=r"SERVICE_PROT.*SERVICE_PORT"):
        Config.from_environment({"SERVICE_PROT": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("PORT", "x"), ("PORT", "-1"), ("PORT", "0"), ("PORT", "70000"), ("ENGINE", "onnx"), ("LOG_LEVEL", "LOUD")],
        *[("DEADLINE_S", "nan"), ("DEADLINE_S", "inf"), ("DEADLINE_S", "0"), ("HANG_TIMEOUT_S", "0.5"), ("KEEP", "5")],
        *[("KEEP_BELOW", "-0.1"), ("MAX_BATCH_SIZE", "0"), ("READ_TIMEOUT_S", "0"), ("QUEUE_CAPACITY", "1.5")],
        *[("ALLOW_ANONYMOUS", "maybe"), ("WORKERS", ""), ("PORT", "٨٠٠٠"), ("DEADLINE_S", "٢.٥")],
    ],
)
def test_a_value_that_is_not_accepted_is_an_error_that_names_it(name, value):
    with pytest.raises(BadSetting, match=rf"SERVICE_{name} is '?{value}'?; it (has to|can) be "):
        Config.from_environment({f"SERVICE_{name}": value})


def test_every_number_has_a_range_that_its_default_is_in():
    for field in fields(Config):
        if field.type in (int, float):
            assert field.metadata["least"] <= field.default <= field.metadata["most"], field.name


def test_words_are_taken_in_either_case():
    config = Config.from_environment({"SERVICE_LOG_LEVEL": "debug", "SERVICE_ALLOW_ANONYMOUS": "True"})
    assert (config.log_level, config.allow_anonymous) == ("DEBUG", True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"KEEP": "0.5", "FEEDBACK": ""}, "SERVICE_KEEP needs a folder, and SERVICE_FEEDBACK is empty"),
        ({"FEEDBACK_OPEN": "1", "FEEDBACK": ""}, "SERVICE_FEEDBACK_OPEN needs a folder"),
        ({"FEEDBACK_OPEN": "1", "FEEDBACK_KEYS": "k" * 16}, "leave one of the two out"),
        ({"CORS_ORIGINS": "https://one.example, https://two.example/"}, "CORS_ORIGINS has 'https://two.example/'"),
        ({"CORS_ORIGINS": "*"}, "an origin is like https://example.org"),
    ],
)
def test_settings_that_contradict_each_other_or_can_do_nothing_are_an_error(settings, message):
    with pytest.raises(BadSetting, match=message):
        Config.from_environment({f"SERVICE_{name}": value for name, value in settings.items()})


INJECTED = {  # by Kubernetes, for Services named `service`, `service-registry` and `service-keep`
    "SERVICE_PORT": "tcp://10.0.0.1:80",
    "SERVICE_SERVICE_HOST": "10.0.0.1",
    "SERVICE_SERVICE_PORT": "80",
    "SERVICE_PORT_80_TCP": "tcp://10.0.0.1:80",
    "SERVICE_PORT_80_TCP_PROTO": "tcp",
    "SERVICE_PORT_80_TCP_PORT": "80",
    "SERVICE_PORT_80_TCP_ADDR": "10.0.0.1",
    "SERVICE_REGISTRY_PORT": "tcp://10.0.0.2:5000",
    "SERVICE_REGISTRY_SERVICE_HOST": "10.0.0.2",
    "SERVICE_REGISTRY_SERVICE_PORT": "5000",
    "SERVICE_KEEP_PORT": "tcp://10.0.0.3:80",
    "SERVICE_KEEP_SERVICE_PORT_HTTP": "80",
}


def test_variables_that_kubernetes_injects_are_passed_over_and_named():
    assert Config.from_environment(INJECTED) == Config()
    said = strangers(INJECTED)
    assert len(said) == len(INJECTED)
    assert "SERVICE_PORT is tcp://10.0.0.1:80, which Kubernetes has set for another service; it is passed over" in said
    assert "SERVICE_SERVICE_HOST is no setting of this service; it is passed over" in said
    assert strangers({"SERVICE_PORT": "8001", "PORT": "8002", "HOME": "/"}) == []


def test_port_is_taken_where_the_setting_is_not_given():
    assert Config.from_environment({"PORT": "9"}).port == 9
    assert Config.from_environment({"PORT": "9", "SERVICE_PORT": "10"}).port == 10
    assert Config.from_environment({"PORT": "9", "SERVICE_PORT": "tcp://10.0.0.1:80"}).port == 9
    assert Config.from_environment({"PORT": "tcp://10.0.0.1:80"}).port == 8000
    with pytest.raises(BadSetting, match="PORT is 'x'"):
        Config.from_environment({"PORT": "x"})


def test_the_command_fails_with_one_sentence():
    result = CliRunner().invoke(main, env={"SERVICE_PROT": "1"})
    assert result.exit_code == 1
    assert result.output.startswith("Error: No setting is called SERVICE_PROT")


def test_an_address_that_is_taken_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(main, env={"SERVICE_PORT": str(taken.getsockname()[1])})
    assert result.exit_code == 1
    assert "Nothing can listen at 127.0.0.1:" in result.output


def test_an_address_that_is_none_is_told_at_once():
    result = CliRunner().invoke(main, env={"SERVICE_HOST": "no host"})
    assert result.exit_code == 1
    assert result.output.startswith("Error: Nothing can listen at ")


def test_help_has_every_setting_as_it_is_declared():
    """So has docs/reference/settings.md: tests/docs compares it with what is declared."""
    text = CliRunner().invoke(main, ["--help"]).output
    for field in fields(Config):
        line = next(line for line in text.splitlines() if f" {variable(field)}={field.default} " in f"{line} ")
        assert field.metadata["meaning"] in line
        assert accepted(field) in line
