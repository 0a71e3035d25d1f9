"""Live, previous, canary, shadow: said on the command line or over HTTP, followed by a running service."""

import os
from collections import Counter
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result

from models.store.live import LivePointer, read_live
from models.store.publish import publish
from service.cli.app import main
from tests.harness import Load, copy_of, golden_image, metric, running_service, wait_until

KEY = "an admin's key of some length"
ADMIN = {"Authorization": f"Bearer {KEY}"}


def three_versions(digits_exports: Path, target: Path) -> Path:
    """Of digits, of which the second is live and the first was before."""
    exports = copy_of(digits_exports, target)
    publish(exports / "digits" / "1", exports)
    publish(exports / "digits" / "1", exports, make_live=False)
    return exports


@pytest.fixture
def exports(digits_exports, tmp_path) -> Path:
    return three_versions(digits_exports, tmp_path / "exports")


@pytest.fixture
def service(exports, tmp_path):
    with running_service(exports, tmp_path, admin_keys=KEY) as service:
        yield service


@pytest.fixture(scope="module")
def lasting(digits_exports, tmp_path_factory):
    """A service, with its exports, for requests that change nothing."""
    work = tmp_path_factory.mktemp("lasting")
    exports = three_versions(digits_exports, work / "exports")
    with running_service(exports, work, admin_keys=KEY) as service:
        yield service, exports


def command(exports: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--exports", str(exports)])


def model(service) -> dict:
    return requests.get(service.url + "/models/digits", timeout=5).json()


def state_of(service, version: int) -> str | None:
    return next((row["state"] for row in model(service)["versions"] if row["version"] == version), None)


def post(service, path: str, headers: dict[str, str] = ADMIN, **body: object) -> requests.Response:
    return requests.post(service.url + path, json=body, headers=headers, timeout=10)


def answering(service, exports: Path, count: int, **headers: str) -> Counter:
    """Which versions answered."""
    image = golden_image(exports)
    with requests.Session() as session:
        answers = [
            session.post(service.url + "/classify", data=image, headers=headers, timeout=10) for _ in range(count)
        ]
    return Counter(answer.json()["version"] for answer in answers)


def test_commands_move_the_pointer_and_tell_what_it_says(exports):
    home = exports / "digits"
    assert command(exports, "promote", "digits", 3).output == "digits: live 3, previous 2\n"
    assert command(exports, "rollback", "digits").output == "digits: live 2, previous 3\n"
    canary = command(exports, "canary", "digits", 3, "--fraction", 0.25)
    assert canary.output == "digits: live 2, previous 3, canary 3 for 25.0%\n"
    assert command(exports, "shadow", "digits", 1).output.endswith("canary 3 for 25.0%, shadow 1\n")
    assert read_live(home) == LivePointer(2, 3, canary=3, shadow=1, canary_fraction=0.25)
    listing = command(exports, "models").output.splitlines()
    assert listing[0] == "digits, default"
    assert [line.split()[0] for line in listing[1:]] == ["3", "2", "1"]
    assert "lenet5" in listing[1]
    assert listing[1].endswith("previous, canary (25.0%)")
    assert command(exports, "canary", "digits", "--off").exit_code == 0
    assert command(exports, "promote", "digits", 1).exit_code == 0
    assert read_live(home) == LivePointer(1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "cats", 1), "has no model cats; it has digits"),
        (("promote", "digits", 9), "has no version 9; it has 1, 2, 3"),
        (("promote", "digits", "abc"), "A version is a whole number, not 'abc'"),
        (("promote", "digits", "abc"), "digits has 1, 2, 3."),
        (("shadow", "digits", "²"), "A version is a whole number, not '²'"),
        (("canary", "digits", "9" * 5000), "A version is a whole number"),
        (("rollback", "cats"), "has no model cats"),
        (("canary", "digits", 2), "Version 2 of digits is live already"),
        (("canary", "digits", 3, "--fraction", 1.5), "above 0 and up to 1, not 1.5"),
        (("canary", "digits"), "Say a VERSION, or --off"),
        (("shadow", "digits", 3, "--off"), "Say a VERSION, or --off"),
        (("promote", "../digits", 1), "No model can be called '../digits'"),
    ],
)
def test_commands_refuse_what_makes_no_sense_and_leave_the_pointer_alone(exports, arguments, message):
    before = read_live(exports / "digits")
    result = command(exports, *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert read_live(exports / "digits") == before


def test_without_a_version_before_there_is_nothing_to_roll_back_to(digits_exports, tmp_path):
    exports = copy_of(digits_exports, tmp_path / "exports")
    result = command(exports, "rollback", "digits")
    assert result.exit_code == 1
    assert "promote one by its number" in result.output


def test_a_rollback_takes_effect_without_a_failed_request(service, exports):
    wait_until(lambda: state_of(service, 1) == "available", service)
    with Load(service, golden_image(exports)) as load:
        load.wait_for(20)
        assert post(service, "/models/digits/rollback").json()["live"] == 1
        wait_until(lambda: model(service)["live"] == 1, service)
        load.wait_for(20)
    load.assert_all_answered()
    assert load.answers[-1][1]["version"] == 1


def test_a_canary_answers_its_share_and_no_more(service, exports):
    assert answering(service, exports, 20) == {2: 20}
    answer = post(service, "/models/digits/canary", version=3, fraction=0.5)
    assert (answer.json()["canary"], answer.json()["canary_fraction"]) == (3, 0.5)
    wait_until(lambda: state_of(service, 3) == "available", service)
    found = answering(service, exports, 200)
    assert set(found) == {2, 3}
    assert 60 < found[3] < 140  # six standard deviations from 100
    named = requests.post(service.url + "/models/digits/versions/2/classify", data=golden_image(exports), timeout=10)
    assert named.json()["version"] == 2
    assert metric(service, r"striate_canary_fraction") == 0.5
    assert post(service, "/models/digits/canary", version=None).status_code == 200
    wait_until(lambda: "canary" not in model(service)["labels"], service)
    assert answering(service, exports, 20) == {2: 20}


def test_a_canary_that_goes_live_is_none_any_more(service, exports):
    post(service, "/models/digits/canary", version=3, fraction=0.5)
    wait_until(lambda: state_of(service, 3) == "available", service)
    assert post(service, "/models/digits/promote", version=3).json()["canary"] is None
    wait_until(lambda: model(service)["live"] == 3, service)
    assert answering(service, exports, 20) == {3: 20}


def test_whoever_sends_the_same_header_meets_the_same_version(exports, tmp_path):
    command(exports, "canary", "digits", 3, "--fraction", 0.5)
    with running_service(exports, tmp_path, canary_header="X-User") as service:
        wait_until(lambda: state_of(service, 3) == "available", service)
        met = [answering(service, exports, 6, **{"X-User": f"user {i}"}) for i in range(20)]
    assert all(len(found) == 1 for found in met)
    assert {version for found in met for version in found} == {2, 3}


def test_a_shadow_is_asked_and_compared_and_never_answers(service, exports):
    assert post(service, "/models/digits/shadow", version=3).json()["shadow"] == 3
    wait_until(lambda: state_of(service, 3) == "available", service)
    assert answering(service, exports, 30) == {2: 30}

    def compared() -> float:
        return metric(service, r'striate_shadow_images_total.*outcome="agrees".*version="3"')

    wait_until(lambda: compared() == 30, service)


def test_a_model_is_unloaded_and_loaded_again(service, exports):
    unload = "/v2/repository/models/digits/unload"
    assert post(service, unload).status_code == 200
    wait_until(lambda: model(service)["unloaded"] and not service.engines(), service)
    refused = requests.post(service.url + "/classify", data=golden_image(exports), timeout=10)
    assert refused.status_code == 503
    assert "was unloaded" in refused.json()["error"]["message"]
    assert requests.get(service.url + "/v2/models/digits/ready", timeout=5).status_code == 503
    assert post(service, "/v2/repository/models/digits/load").status_code == 200
    wait_until(lambda: model(service)["live"] == 2, service)
    assert answering(service, exports, 3) == {2: 3}


def test_a_file_whose_name_is_not_utf8_is_named_in_an_answer(lasting):
    service, exports = lasting
    odd = os.fsdecode(b"caf\xe9")
    (exports / "digits" / "3" / odd).touch()
    try:
        response = post(service, "/models/digits/promote", version=3)
    finally:
        (exports / "digits" / "3" / odd).unlink()
    assert response.status_code == 409
    assert odd in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/models/cats/promote", {"version": 1}, 404, "no model of this name"),
        ("/models/digits/promote", {"version": 9}, 409, "digits has no version 9; it has 1, 2, 3."),
        ("/models/digits/promote", {"version": "1"}, 422, "Expected `int`, got `str` - at `$.version`"),
        ("/models/digits/promote", {}, 422, "Object missing required field `version`"),
        ("/models/digits/promote", {"versoin": 1}, 422, "Object contains unknown field `versoin`"),
        ("/models/digits/canary", {"version": 3, "fraction": 2}, 422, "Expected `float` <= 1.0"),
        ("/models/digits/canary", {"version": 3, "fraction": 10**400}, 422, "Number out of range"),
        ("/models/..%2fdigits/promote", {"version": 1}, 404, "There is nothing here"),
        ("/models/digits/canary", {"version": 3, "fraction": True}, 422, "Expected `float`, got `bool`"),
        ("/models/digits/shadow", {"version": 2}, 409, "is live already"),
    ],
)
def test_over_http_what_makes_no_sense_is_refused(lasting, path, body, status, message):
    service, exports = lasting
    before = read_live(exports / "digits")
    response = post(service, path, **body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert str(exports) not in response.text
    assert read_live(exports / "digits") == before
