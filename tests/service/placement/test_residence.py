"""A real service with several models: engines on several devices, and more models than the memory holds."""

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from models.store.live import set_live
from models.store.publish import publish
from tests.harness import Load, RunningService, copy_of, golden_image, running_service, wait_until
from tests.service.supervisor.test_lifecycle import waiting_spare
from tests.service.supervisor.test_supervisor import copy_bundle

SMALL = 90_000_000  # bytes: one engine of `digits` fits, and two do not


@pytest.fixture
def exports(digits_exports: Path, tmp_path: Path) -> Path:
    return copy_of(digits_exports, tmp_path / "exports")


@pytest.fixture
def two_models(exports: Path, tmp_path: Path) -> Path:
    publish(copy_bundle(exports / "digits" / "1", tmp_path / "bundle", model="others"), exports)
    return exports


def ask(service: RunningService, model: str, image: bytes) -> requests.Response:
    return requests.post(f"{service.url}/models/{model}/classify", data=image, timeout=60)


def states(service: RunningService) -> dict[str, str]:
    models = requests.get(f"{service.url}/models", timeout=10).json()["models"]
    return {model["name"]: model["versions"][-1]["state"] for model in models}


def cores_of(pid: int) -> set[str]:
    """Which cores each thread of a process may run on."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    lines = [line for task in tasks for line in (task / "status").read_text().splitlines()]
    return {line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:")}


needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the machine has one core")


@needs_two_cores
def test_each_device_has_an_engine_on_its_own_cores_and_all_of_them_answer(exports: Path, tmp_path: Path) -> None:
    with running_service(exports, tmp_path, devices="cpu:0,cpu:1") as service:
        wait_until(lambda: len(service.engines()) == 2, service)
        with Load(service, golden_image(exports), num_clients=8) as load:
            load.wait_for(50)
            wait_until(lambda: devices(service) == ["cpu:0", "cpu:1"], service)
            load.wait_for(200)
            killed = service.engines()[0]
            os.kill(killed, signal.SIGKILL)
            load.wait_for(200)
            wait_until(lambda: killed not in service.engines() and len(devices(service)) == 2, service)
            load.wait_for(50)
        load.assert_all_answered()
        assert sorted(map(sorted, map(cores_of, service.engines()))) == [["0"], ["1"]]


@needs_two_cores
def test_an_engine_that_was_a_spare_keeps_to_the_cores_of_the_device(exports: Path, tmp_path: Path) -> None:
    with running_service(exports, tmp_path, devices="cpu:1", log_level="DEBUG") as service:
        (engine,), spare = service.engines(), waiting_spare(service)
        with Load(service, golden_image(exports)) as load:
            load.wait_for(50)
            os.kill(engine, signal.SIGKILL)
            wait_until(lambda: service.engines() == [spare], service)
            load.wait_for(100)
        assert cores_of(spare) == {"1"}


def devices(service: RunningService) -> list[str]:
    model = requests.get(f"{service.url}/models/digits", timeout=10).json()
    live = next(version for version in model["versions"] if version["version"] == model["live"])
    return sorted(live["devices"])


@needs_two_cores
def test_a_promotion_with_two_engines_fails_no_request(exports: Path, tmp_path: Path) -> None:
    publish(exports / "digits" / "1", exports, make_live=False)
    with running_service(exports, tmp_path, devices="cpu:0,cpu:1") as service:
        wait_until(lambda: devices(service) == ["cpu:0", "cpu:1"], service)
        with Load(service, golden_image(exports)) as load:
            load.wait_for(20)
            set_live(exports, "digits", 2)
            wait_until(lambda: load.answers[-1][1]["version"] == 2, service)
            assert devices(service) == ["cpu:0", "cpu:1"]  # not fewer than before
            load.wait_for(50)
        load.assert_all_answered()


def test_models_that_do_not_fit_together_take_turns(two_models: Path, tmp_path: Path) -> None:
    image = golden_image(two_models)
    with running_service(two_models, tmp_path, memory_bytes=SMALL, deadline_s=60) as service:
        for model in ("digits", "others", "digits", "others"):
            assert ask(service, model, image).status_code == 200, service.log()
            assert states(service)[model] == "available"
            assert len(service.engines()) == 1
            assert requests.get(f"{service.url}/readyz", timeout=10).status_code == 200
            time.sleep(0.1)


def test_a_request_for_an_unloaded_model_may_be_refused_with_the_time_to_come_again(
    two_models: Path, tmp_path: Path
) -> None:
    image = golden_image(two_models)
    with running_service(two_models, tmp_path, memory_bytes=SMALL, when_unloaded="refuse") as service:
        wait_until(lambda: "idle" in states(service).values(), service)
        (idle,) = [name for name, state in states(service).items() if state == "idle"]
        refused = ask(service, idle, image)
        assert refused.status_code == 503
        assert 1 <= int(refused.headers["Retry-After"]) <= 30
        wait_until(lambda: ask(service, idle, image).status_code == 200, service)


def test_a_model_that_nobody_asks_is_unloaded_and_comes_back(exports: Path, tmp_path: Path) -> None:
    image = golden_image(exports)
    with running_service(exports, tmp_path, unload_idle_s=1, deadline_s=60) as service:
        assert ask(service, "digits", image).status_code == 200
        wait_until(lambda: states(service) == {"digits": "idle"}, service)
        wait_until(lambda: not service.engines(), service)
        assert requests.get(f"{service.url}/v2/models/digits/ready", timeout=10).status_code == 200
        assert ask(service, "digits", image).json()["predictions"][0]["label"] == "3"


def test_a_busy_model_does_not_keep_another_from_being_loaded(two_models: Path, tmp_path: Path) -> None:
    image = golden_image(two_models)
    with running_service(two_models, tmp_path, memory_bytes=SMALL, deadline_s=60) as service:
        wait_until(lambda: ask(service, "others", image).status_code == 200, service)
        with Load(service, image, path="/models/others/classify", num_clients=1) as load:
            load.wait_for(20)
            assert ask(service, "digits", image).status_code == 200
            load.wait_for(20)
        load.assert_all_answered()
        assert "retiring too long" not in service.log()


def test_requests_for_a_model_that_is_being_loaded_wait_like_the_first(two_models: Path, tmp_path: Path) -> None:
    image = golden_image(two_models)
    with running_service(two_models, tmp_path, memory_bytes=SMALL, deadline_s=60) as service:
        wait_until(lambda: "idle" in states(service).values(), service)
        (idle,) = [name for name, state in states(service).items() if state == "idle"]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask(service, idle, image).status_code, range(8)))
        assert answers == 8 * [200]


def test_a_service_whose_default_model_is_removed_stays_ready(two_models: Path, tmp_path: Path) -> None:
    image = golden_image(two_models)
    with running_service(two_models, tmp_path) as service:
        wait_until(lambda: ask(service, "others", image).status_code == 200, service)
        shutil.rmtree(two_models / "digits")
        wait_until(lambda: ask(service, "digits", image).status_code == 404, service)
        assert requests.get(f"{service.url}/readyz", timeout=10).json()["models"] == ["others"]
