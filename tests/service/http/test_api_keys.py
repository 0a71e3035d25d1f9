"""Who may ask, and who may say which version answers."""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from service.cli.app import main
from service.config import BadSetting, Config
from service.http.api_keys import read_keys
from tests.harness import descendants, golden_image, metric, running_service, wait_for_end, wait_until
from tests.processes import free_port

PREDICT, ADMIN, OTHER = "a key that classifies", "a key that does more", "a key of somebody else"


@pytest.fixture(scope="module")
def service(digits_exports, tmp_path_factory):
    home = tmp_path_factory.mktemp("keys")
    (home / "keys").write_text(f"# who may do what\n\npredict {PREDICT}\nadmin {ADMIN}\n")
    with running_service(digits_exports, home, keys_file=home / "keys", log_format="text") as service:
        yield service


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("headers", [bearer(PREDICT), {"X-API-Key": PREDICT}, bearer(ADMIN), {"X-API-Key": ADMIN}])
def test_a_key_that_is_known_classifies(service, digits_exports, headers):
    url = service.url + "/classify"
    assert requests.post(url, data=golden_image(digits_exports), headers=headers, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, bearer("a key that nobody knows"), {"X-API-Key": ""}, {"Authorization": "Basic x"}]
)
@pytest.mark.parametrize("path", ["/classify", "/v1/models/digits:predict", "/v2/models/digits/infer", "/metrics"])
def test_without_a_key_that_is_known_nobody_classifies(service, digits_exports, headers, path):
    response = requests.post(service.url + path, data=golden_image(digits_exports), headers=headers, timeout=10)
    if path == "/metrics":
        response = requests.get(service.url + path, headers=headers, timeout=10)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "API key" in response.text


def test_probes_and_the_page_need_no_key(service):
    for path in ("/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready", "/", "/openapi.json"):
        assert requests.get(service.url + path, timeout=10).status_code == 200


def test_a_key_for_classifying_changes_nothing(service):
    url = service.url + "/models/digits/promote"
    response = requests.post(url, json={"version": 1}, headers=bearer(PREDICT), timeout=10)
    assert response.status_code == 403
    assert requests.post(url, json={"version": 1}, headers=bearer(ADMIN), timeout=10).status_code == 200


def test_no_key_is_ever_logged(service):
    requests.post(f"{service.url}/models/digits/promote", json={"version": 1}, headers=bearer(PREDICT), timeout=10)
    wait_until(lambda: "POST /models/digits/promote 403" in service.log(), service)
    assert "GET /healthz" not in service.log()
    assert PREDICT not in service.log()
    assert ADMIN not in service.log()


def test_the_command_that_the_start_prints_has_a_place_for_the_key_and_works_with_one(service):
    (command,) = [line for line in service.log().splitlines() if line.startswith("  curl ")]
    arguments = [argument.replace("YOUR-KEY", PREDICT) for argument in shlex.split(command)]
    done = subprocess.run([arguments[0], "--silent", *arguments[1:]], capture_output=True, check=True)
    assert json.loads(done.stdout)["model"] == "digits"


def test_keys_from_settings_are_masked_where_settings_are_shown():
    shown = Config(predict_keys=PREDICT, port=9).shown()
    assert PREDICT not in str(shown)
    assert shown["predict_keys"] == "********"
    assert shown["admin_keys"] == ""
    assert shown["port"] == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [("predict short", "too short"), ("root 0123456789abcdef", "Line 1 of"), ("\npredict\n", "Line 2 of")],
)
def test_a_file_of_keys_that_is_none_is_refused_at_the_start(tmp_path, text, message):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(BadSetting, match=message):
        read_keys(Config(keys_file=str(tmp_path / "keys")))
    with pytest.raises(BadSetting, match="cannot be read"):
        read_keys(Config(keys_file=str(tmp_path / "nothing")))


def test_feedback_keys_in_the_file_and_open_feedback_exclude_each_other(tmp_path):
    (tmp_path / "keys").write_text(f"feedback {PREDICT}")
    with pytest.raises(BadSetting, match="has feedback keys: take one or the other"):
        read_keys(Config(keys_file=str(tmp_path / "keys"), feedback_open=True))


def test_beyond_the_loopback_address_the_service_does_not_start_open():
    result = CliRunner().invoke(main, env={"SERVICE_HOST": "0.0.0.0", "SERVICE_PORT": str(free_port())})
    assert result.exit_code == 1
    assert "Set SERVICE_PREDICT_KEYS or SERVICE_KEYS_FILE, or SERVICE_ALLOW_ANONYMOUS=1" in result.output


def test_keys_are_read_again_when_their_file_changes_and_stay_where_it_is_wrong(digits_exports, tmp_path):
    file, image = tmp_path / "keys", golden_image(digits_exports)
    file.write_text(f"predict {PREDICT}\n")
    with running_service(digits_exports, tmp_path, keys_file=file, workers=2, log_format="text") as service:

        def status(key: str) -> int:
            return requests.post(f"{service.url}/classify", data=image, headers=bearer(key), timeout=10).status_code

        def said(text: str) -> bool:
            return text in service.log()

        file.write_text(f"predict {PREDICT}\nroot {ADMIN}\n")
        wait_until(lambda: said("the API keys stay as they were: Line 2 of"), service)
        killed = max(service.pids("service.worker"))
        os.kill(killed, signal.SIGKILL)  # the worker that replaces it has the keys that were handed over
        wait_for_end(killed)
        wait_until(lambda: len(service.pids("service.worker")) == 3, service)
        assert [status(PREDICT) for _ in range(6)] == [200] * 6
        file.write_text("")
        wait_until(lambda: said("has no key that may classify"), service)
        assert status("nobody's key, and a long one") == 401
        file.unlink()
        wait_until(lambda: said("cannot be read"), service)
        assert status(PREDICT) == 200
        file.write_text("predict a key that is new here\n")
        wait_until(lambda: status("a key that is new here") == 200, service)
        assert status(PREDICT) == 401
        assert said("the API keys were read again: 1 predict, 0 feedback, 0 admin")


def test_keys_are_in_the_environment_of_the_supervisor_alone(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path, ready=False, predict_keys=PREDICT) as service:
        wait_until(lambda: len(service.engines()) == 1 and len(service.pids("service.worker")) >= 2, service)
        for pid in descendants(service.process.pid):
            assert PREDICT.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


PROXY_HEADERS = {
    "SCRIPT_NAME": "/x",
    "Script-Name": "/x",
    "PATH_INFO": "/metrics",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/x",
    "X-Forwarded-Host": "localhost",
    "REMOTE_USER": "admin",
}


@pytest.mark.parametrize("header", PROXY_HEADERS)
def test_no_header_of_a_proxy_is_believed(service, digits_exports, header):
    told = {header: PROXY_HEADERS[header]}
    image = golden_image(digits_exports)
    answer = requests.post(f"{service.url}/classify", data=image, headers=bearer(PREDICT) | told, timeout=10)
    assert answer.status_code == 200
    assert requests.get(f"{service.url}/x/metrics", headers=bearer(PREDICT) | told, timeout=10).status_code == 404
    assert requests.get(f"{service.url}/metrics", headers=told, timeout=10).status_code == 401
    assert requests.get(f"{service.url}/healthz", headers=told, timeout=10).status_code == 200


def test_pages_of_other_origins_may_ask_where_they_are_named(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path, cors_origins="https://one.example, https://two.example") as service:
        url, image = service.url + "/classify", golden_image(digits_exports)
        asked = {"Origin": "https://two.example", "Access-Control-Request-Method": "POST"}
        before = requests.options(url, headers=asked, timeout=10)
        assert before.status_code == 204
        assert before.headers["Access-Control-Allow-Origin"] == "https://two.example"
        assert "POST" in before.headers["Access-Control-Allow-Methods"]
        allowed = requests.post(url, data=image, headers={"Origin": "https://one.example"}, timeout=10)
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://one.example"
        other = requests.post(url, data=image, headers={"Origin": "https://three.example"}, timeout=10)
        assert "Access-Control-Allow-Origin" not in other.headers
        assert "Origin" in other.headers["Vary"]


def test_by_default_no_other_origin_may(digits_service, digits_exports):
    headers = {"Origin": "https://one.example"}
    answer = requests.post(digits_service + "/classify", data=golden_image(digits_exports), headers=headers, timeout=10)
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


def test_a_named_key_is_in_the_log_and_the_metrics_by_its_name_alone(digits_exports, tmp_path):
    (tmp_path / "keys").write_text(f"predict {PREDICT} name=shop\n")
    with running_service(digits_exports, tmp_path, keys_file=tmp_path / "keys", log_format="json") as service:
        url, image = service.url + "/classify", golden_image(digits_exports)
        assert requests.post(url, data=image, headers=bearer(PREDICT), timeout=10).status_code == 200
        assert requests.post(url, data=b"none", headers=bearer(PREDICT), timeout=10).status_code == 400
        wait_until(
            lambda: metric(service, r'striate_key_requests_total\{key="shop",status="200"\}', bearer(PREDICT)), service
        )
        assert metric(service, r'striate_key_requests_total\{key="shop",status="400"\}', bearer(PREDICT)) == 1
        assert metric(service, r'striate_key_images_total\{key="shop"\}', bearer(PREDICT)) == 1
        wait_until(lambda: re.search(r'"key": ?"shop"', service.log()) is not None, service)
        assert service.stop() == 0
        assert PREDICT not in service.log()


def test_a_key_is_held_to_its_rate_and_its_neighbour_is_not(digits_exports, tmp_path):
    (tmp_path / "keys").write_text(f"predict {PREDICT} name=shop rate=0.1 burst=3\npredict {OTHER} name=till\n")
    with running_service(digits_exports, tmp_path, keys_file=tmp_path / "keys") as service:
        url, image = service.url + "/classify", golden_image(digits_exports)

        def ask(key):
            return requests.post(url, data=image, headers=bearer(key), timeout=10)

        answers = [ask(PREDICT) for _ in range(8)]
        assert [answer.status_code for answer in answers] == 4 * [200] + 4 * [429]
        assert answers[-1].json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
        assert ask(OTHER).status_code == 200
        assert requests.get(service.url + "/models", headers=bearer(PREDICT), timeout=10).status_code == 200


def test_a_quota_is_shared_by_the_keys_of_one_name_and_survives_a_rotation(digits_exports, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"predict {PREDICT} name=shop quota=3\n")
    with running_service(digits_exports, tmp_path, keys_file=keys, log_format="text") as service:
        url, image = service.url + "/classify", golden_image(digits_exports)

        def ask(key):
            return requests.post(url, data=image, headers=bearer(key), timeout=10)

        assert ask(PREDICT).status_code == 200
        keys.write_text(f"predict {PREDICT} name=shop quota=3\npredict {OTHER} name=shop quota=3\n")
        wait_until(lambda: ask(OTHER).status_code == 200, service)
        while ask(OTHER).status_code == 200:
            pass
        refused = ask(PREDICT)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "quota_exceeded"
        keys.write_text(f"predict {OTHER} name=shop quota=3\n")
        wait_until(lambda: ask(PREDICT).status_code == 401, service)
        assert ask(OTHER).status_code == 429


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"predict {PREDICT} name=Shop", "Line 1 of .* has name=Shop; use 1 to 64 of a-z"),
        (f"predict {PREDICT} rate=5", "Line 1 of .* has a limit and no name"),
        (f"predict {PREDICT} name=a rate=fast", "Line 1 of .* has rate=fast; it has to be a number above 0"),
        (f"predict {PREDICT} name=a quota=0", "Line 1 of .* has quota=0; it has to be a number above 0"),
        (f"predict {PREDICT} name=a rate=1\npredict {PREDICT}x name=a rate=2", "Line 2 of .* gives a other limits"),
        (f"predict {PREDICT} name=shop qouta=100", "Line 1 of .* has something after its key"),
        (f"predict {PREDICT} name=shop # the shop", "Line 1 of .* has something after its key"),
        (f"predict {PREDICT} name=shop quota=0.5", "Line 1 of .* has a quota that is no whole number"),
        (f"predict {PREDICT} name=shop burst=5", "Line 1 of .* has a quota .* or a burst without a rate"),
        ("predict name=a", "Line 1 of .* is none of"),
    ],
)
def test_a_line_that_cannot_be_is_an_error_that_names_it(tmp_path, line, message):
    (tmp_path / "keys").write_text(line)
    with pytest.raises(BadSetting, match=message) as raised:
        read_keys(Config(keys_file=str(tmp_path / "keys")))
    assert PREDICT not in str(raised.value)
