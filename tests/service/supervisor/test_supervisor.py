"""The supervisor itself: what it reads, what it leaves in memory, how it ends and what ends with it."""

import os
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from models.bundle.manifest import read_manifest, write_manifest
from models.files.durable import write_durably
from models.store.publish import publish
from tests.harness import (
    Load,
    RunningService,
    copy_of,
    golden_image,
    running_service,
    status_of,
    wait_for_end,
    wait_until,
)
from tests.processes import free_port, python, start


@pytest.fixture
def exports(digits_exports, tmp_path) -> Path:
    return copy_of(digits_exports, tmp_path / "exports")


def test_a_live_pointer_of_wrong_types_changes_nothing_and_is_said_in_the_log(exports, tmp_path):
    with running_service(exports, tmp_path, log_format="text") as service:
        for said in ('{"live":"x"}', '{"live":[1]}', '{"live":1.5}', '{"live":true}', '{"live":1e400}', '{"live":-1}'):
            logged = len(service.log())
            (exports / "digits" / "live.json").write_text(said)
            wait_until(lambda start=logged: "is no live pointer" in service.log()[start:], service)
            answer = requests.post(service.url + "/classify", data=golden_image(exports), timeout=10)
            assert answer.json()["version"] == 1


def test_a_pointer_that_stays_wrong_is_logged_once_each_time_that_it_becomes_so(exports, tmp_path):
    other = copy_bundle(exports / "digits" / "1", tmp_path / "bundle", model="others")
    pointer = exports / "digits" / "live.json"
    sound = pointer.read_text()
    with running_service(exports, tmp_path, log_format="text") as service:

        def have_it_look_several_times() -> None:
            number = publish(other, exports)
            wait_until(lambda: f"others version {number}: ready" in service.log(), service)

        for times in (1, 2):
            write_durably(pointer, '{"live": "x"}')  # at once: a file that is half written is wrong in another way
            wait_until(lambda times=times: service.log().count("is no live pointer") == times, service)
            have_it_look_several_times()
            assert service.log().count("is no live pointer") == times
            write_durably(pointer, sound)
            have_it_look_several_times()


def test_exports_that_do_not_answer_stop_neither_answers_nor_restarts_nor_the_end(exports, tmp_path):
    with running_service(exports, tmp_path, log_format="text") as service:
        (exports / "hanging").mkdir()
        os.mkfifo(exports / "hanging" / "live.json")  # whoever opens it to read waits for a writer, for ever
        wait_until(lambda: f"{exports} does not answer" in service.log(), service)
        os.kill(service.engine(1), signal.SIGKILL)
        for _ in range(3):
            answer = requests.post(service.url + "/classify", data=golden_image(exports), timeout=10)
            assert answer.status_code == 200
        assert service.stop() == 0, service.log()


def test_a_second_model_leaves_the_first_the_default_until_somebody_says_otherwise(exports, tmp_path):
    other = copy_bundle(exports / "digits" / "1", tmp_path / "bundle", model="others")
    image = golden_image(exports)

    def classify(url: str) -> requests.Response:
        return requests.post(f"{url}/classify", data=image, timeout=10)

    with running_service(exports, tmp_path, admin_keys="a" * 16, log_format="text") as service:
        publish(other, exports)
        wait_until(lambda: classify_named(service, "others", image) == 200, service)
        assert "the default model is digits; others answer at /models/<name>/classify" in service.log()
        assert requests.get(f"{service.url}/models", timeout=10).json()["default"] == "digits"
        assert classify(service.url).json()["model"] == "digits"
        admin = {"X-API-Key": "a" * 16}
        changed = requests.post(f"{service.url}/models/others/default", headers=admin, timeout=10)
        assert (changed.status_code, changed.json()) == (200, {"default": "others"})
        wait_until(lambda: classify(service.url).json()["model"] == "others", service)
        assert requests.post(f"{service.url}/models/no/default", headers=admin, timeout=10).status_code == 404
        (exports / "default.json").write_text('{"model": "gone"}')
        wait_until(lambda: classify(service.url).status_code == 404, service)
        assert "The default model, gone, is not published here" in classify(service.url).json()["error"]["message"]
        assert "the default model, gone, is not published" in service.log()
    with running_service(exports, tmp_path, admin_keys="a" * 16, default_model="digits") as service:
        assert classify(service.url).json()["model"] == "digits"
        refused = requests.post(f"{service.url}/models/others/default", headers=admin, timeout=10)
        assert refused.status_code == 409


def copy_bundle(bundle: Path, target: Path, *, model: str) -> Path:
    """The same network under another name."""
    shutil.copytree(bundle, target)
    write_manifest(target, replace(read_manifest(target), model=model, files={}))
    return target


def classify_named(service, model: str, image: bytes) -> int:
    return requests.post(f"{service.url}/models/{model}/classify", data=image, timeout=10).status_code


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_asked_to_stop_in_either_way_it_drains_and_exits_0(exports, tmp_path, number):
    with running_service(exports, tmp_path, log_format="text") as service:
        assert service.stop(number) == 0, service.log()
    assert "draining" in service.log()
    assert "stopped" in service.log()


def test_under_nohup_a_hangup_is_passed_over(exports, tmp_path):
    inherited = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup hands it on
    try:
        with running_service(exports, tmp_path, log_format="text") as service:
            service.process.send_signal(signal.SIGHUP)
            assert requests.post(service.url + "/classify", data=golden_image(exports), timeout=10).status_code == 200
            assert "draining" not in service.log()
    finally:
        signal.signal(signal.SIGHUP, inherited)


DIES_AT_THE_START = """
import os, signal, sys
from pathlib import Path
from service.supervisor import engine_pool, supervisor
from service.config import Config

original = {method}

def die_after(self, *arguments):
    original(self, *arguments)
    Path(sys.argv[1]).write_text(Path(f"/proc/self/task/{{os.getpid()}}/children").read_text())
    os.kill(os.getpid(), signal.SIGKILL)

{method} = die_after
supervisor.Supervisor(Config.from_environment(os.environ)).run()
"""


@pytest.mark.parametrize(
    "method", ["engine_pool.EnginePool._start", "supervisor.Supervisor._tick"], ids=["an engine", "gunicorn"]
)
def test_what_a_killed_supervisor_has_only_just_started_ends_too(exports, tmp_path, method):
    """The kernel cannot end a process for the death of its parent before that process has asked for it."""
    port = free_port()
    code = DIES_AT_THE_START.format(method=method)
    settings = {"SERVICE_EXPORTS": str(exports), "SERVICE_PORT": str(port)}
    killed = start("-c", code, tmp_path / "children", log=tmp_path / "log", **settings)
    assert killed.wait(30) == -signal.SIGKILL, (tmp_path / "log").read_text()
    children = (tmp_path / "children").read_text().split()
    assert children
    for pid in children:
        wait_for_end(int(pid))
    socket.create_server(("127.0.0.1", port)).close()  # and nobody has the port


def test_a_process_whose_parent_is_gone_ends_before_it_does_anything(tmp_path):
    for arguments in (
        ("-m", "service.worker", "1"),
        ("-m", "service.engine", '{"supervisor": 1}'),
        ("-m", "training.promotion.trial_process", "1"),
    ):
        assert "Process 1, which started this one, is gone." in python(*arguments, status=1)


def test_a_model_whose_folder_is_deleted_is_removed_without_a_restart(exports: Path, tmp_path: Path) -> None:
    other = copy_bundle(exports / "digits" / "1", tmp_path / "bundle", model="others")
    publish(other, exports)
    with running_service(exports, tmp_path) as service, Load(service, golden_image(exports)) as load:
        path = f"{service.url}/models/others/classify"
        wait_until(lambda: requests.post(path, data=golden_image(exports), timeout=30).status_code == 200, service)
        shutil.rmtree(exports / "others")
        wait_until(lambda: requests.post(path, data=golden_image(exports), timeout=30).status_code == 404, service)
        wait_until(lambda: len(service.engines()) == 1, service)
        publish(other, exports)
        wait_until(lambda: requests.post(path, data=golden_image(exports), timeout=30).status_code == 200, service)
        load.wait_for(20)
    load.assert_all_answered()


def test_exports_that_are_suddenly_empty_remove_nothing(exports: Path, tmp_path: Path) -> None:
    with running_service(exports, tmp_path) as service, Load(service, golden_image(exports)) as load:
        exports.rename(tmp_path / "away")  # as if the volume were unmounted
        exports.mkdir()
        wait_until(lambda: "the models that were there go on answering" in service.log(), service)
        load.wait_for(50)
        exports.rmdir()
        (tmp_path / "away").rename(exports)
        load.wait_for(50)
    load.assert_all_answered()


@pytest.mark.parametrize("depth", ["bundle", "model", "exports"])
def test_one_bundle_is_served_under_the_name_that_is_given(digits_exports: Path, tmp_path: Path, depth: str) -> None:
    """As KServe has it: the model's files are at one path, and the name is the InferenceService's."""
    path = {"bundle": digits_exports / "digits" / "1", "model": digits_exports / "digits", "exports": digits_exports}[
        depth
    ]
    name = "digits" if depth == "exports" else "vision"
    port = free_port()
    log = tmp_path / "log"
    process = start("-m", "striate", "serve", "--bundle", path, "--name", name, "--port", port, log=log)
    service = RunningService(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: status_of(service, f"/v2/models/{name}/ready") == 200, service)
        image = golden_image(digits_exports)
        answer = requests.post(f"{service.url}/models/{name}/classify", data=image, timeout=30)
        assert answer.json()["predictions"][0]["label"] == "3"
    finally:
        assert service.stop() == 0, service.log()
