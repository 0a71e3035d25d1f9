import subprocess
import sys

import pytest

from models.store.publish import publish
from service.config import BadSetting, Config
from service.config_file import gather
from tests.bundles import make_bundle
from tests.processes import ROOT, environment, free_port


def gathered(tmp_path, text, **environment):
    path = tmp_path / "service.toml"
    path.write_text(text)
    return gather({"SERVICE_CONFIG": str(path), **environment})


def test_a_file_sets_what_the_environment_does_not(tmp_path):
    found = gathered(tmp_path, 'port = 9\nhost = "::1"\ndeadline_s = 2\nexamples = false', SERVICE_PORT="10")
    config = Config.from_environment(found.environment)
    assert config == Config(port=10, host="::1", deadline_s=2.0, examples=False)
    assert found.sources.keys() == {"SERVICE_HOST", "SERVICE_DEADLINE_S", "SERVICE_EXAMPLES"}


def test_a_list_is_a_setting_with_commas(tmp_path):
    found = gathered(tmp_path, 'cors_origins = ["https://one.example", "https://two.example"]')
    assert Config.from_environment(found.environment).cors_origins == "https://one.example,https://two.example"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 9", r"has prot, and no setting is called that\. Is port meant\?"),
        ('port = "9"', r"port = '9'; it has to be a whole number\."),
        ("port = true", r"port = True; it has to be a whole number\."),
        ("examples = 1", r"examples = 1; it has to be true or false\."),
        ("host = 1", r"host = 1; it has to be text in quotes\."),
        ("[service]\nport = 9", r"has service, and no setting is called that\."),
        ("port = ", r"is no TOML"),
    ],
)
def test_what_a_file_may_not_say_is_an_error_that_names_it(tmp_path, text, message):
    with pytest.raises(BadSetting, match=message):
        gathered(tmp_path, text)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(BadSetting, match=r"SERVICE_CONFIG names .*none\.toml, which cannot be read"):
        gather({"SERVICE_CONFIG": str(tmp_path / "none.toml")})


def test_a_secret_is_read_from_its_file_one_a_line(tmp_path):
    (tmp_path / "admin").write_text("first-key-of-admins\nsecond-key-of-admins\n\n")
    found = gather({"SERVICE_ADMIN_KEYS_FILE": str(tmp_path / "admin")})
    assert found.environment == {"SERVICE_ADMIN_KEYS": "first-key-of-admins,second-key-of-admins"}


def test_a_secret_given_twice_or_in_a_missing_file_is_an_error(tmp_path):
    (tmp_path / "admin").write_text("first-key-of-admins")
    twice = {"SERVICE_ADMIN_KEYS_FILE": str(tmp_path / "admin"), "SERVICE_ADMIN_KEYS": "another-key-of-admins"}
    with pytest.raises(BadSetting, match="both set: leave one of the two out"):
        gather(twice)
    with pytest.raises(BadSetting, match=r"SERVICE_PREDICT_KEYS_FILE names .* which cannot be read"):
        gather({"SERVICE_PREDICT_KEYS_FILE": str(tmp_path / "none")})


@pytest.fixture
def exports(tmp_path):
    publish(make_bundle(tmp_path / "bundle"), tmp_path / "exports")
    return tmp_path / "exports"


def check(exports, *options, **settings):
    return subprocess.run(
        [sys.executable, "-m", "service", "check", *options],
        cwd=ROOT,
        env={**environment(), "SERVICE_EXPORTS": str(exports), "SERVICE_PORT": str(free_port()), **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_check_says_what_each_setting_is_and_where_it_comes_from(tmp_path, exports):
    path = tmp_path / "service.toml"
    path.write_text('max_images = 3\nadmin_keys = "a-key-of-some-length"')
    ended = check(exports, "--config", str(path))
    assert ended.returncode == 0, ended.stderr
    assert f"SERVICE_MAX_IMAGES=3, from {path}" in ended.stdout
    assert f"SERVICE_EXPORTS={exports}, from the environment" in ended.stdout
    assert "API keys: 0 predict, 0 feedback, 1 admin; classifying is without a key" in ended.stdout
    assert "a-key-of-some-length" not in ended.stdout + ended.stderr
    assert "version 1, live, the default model: " in ended.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"SERVICE_PROT": "1"}, "is SERVICE_PORT meant?"),
        ({"SERVICE_HOST": "0.0.0.0"}, "everybody who reaches it could ask"),
        ({"SERVICE_REQUIRED_MODELS": "cats"}, "cats is the default or a required model"),
        ({"SERVICE_KEYS_FILE": "/none"}, "SERVICE_KEYS_FILE /none cannot be read"),
        ({"SERVICE_HOST": "192.0.2.1", "SERVICE_ALLOW_ANONYMOUS": "1"}, "Nothing can listen at 192.0.2.1"),
        ({"SERVICE_FEEDBACK": "/proc/none", "SERVICE_KEEP": "1"}, "where nothing can be written"),
    ],
)
def test_check_ends_with_2_where_the_service_would_not_do_what_it_is_asked(exports, settings, message):
    ended = check(exports, **settings)
    assert ended.returncode == 2, ended.stdout
    assert message in ended.stderr


def test_check_finds_a_live_version_that_is_damaged(exports):
    weights = next(exports.glob("*/1/variables/variables.index"))
    weights.write_bytes(weights.read_bytes()[:-1])
    ended = check(exports)
    assert ended.returncode == 2
    assert "variables.index" in ended.stderr
