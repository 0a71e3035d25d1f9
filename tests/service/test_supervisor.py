"""The supervisor itself: what it reads, what it leaves in memory, how it ends and what ends with it."""

from pathlib import Path

import pytest
import requests

from tests.harness import copy_of, golden_image, running_service, wait_until


@pytest.fixture
def exports(digits_exports, tmp_path) -> Path:
    return copy_of(digits_exports, tmp_path / "exports")


def test_a_live_pointer_of_wrong_types_changes_nothing_and_is_said_in_the_log(exports, tmp_path):
    with running_service(exports, tmp_path, log_format="text", poll_interval_s=0.05) as service:
        for said in ('{"live":"x"}', '{"live":[1]}', '{"live":1.5}', '{"live":true}', '{"live":1e400}', '{"live":-1}'):
            logged = len(service.log())
            (exports / "digits" / "live.json").write_text(said)
            wait_until(lambda start=logged: "is no live pointer" in service.log()[start:], service)
            answer = requests.post(service.url + "/classify", data=golden_image(exports), timeout=10)
            assert answer.json()["version"] == 1
