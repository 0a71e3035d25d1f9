"""A real service, real engines: versions come, go, break and die while clients ask."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import threading
from pathlib import Path

import pytest
import requests

from models.bundle.manifest import list_golden
from models.store.live import set_live
from models.store.publish import publish
from service.engine.loading import TOLERANCE
from tests.bundles import make_bundle
from tests.harness import (
    Load,
    copy_of,
    descendants,
    golden_image,
    metric,
    running_service,
    status_of,
    wait_for_end,
    wait_until,
)
from tests.processes import python


@pytest.fixture
def exports(digits_exports, tmp_path) -> Path:
    return copy_of(digits_exports, tmp_path / "exports")


def versions_of(service) -> dict[int, dict]:
    model = requests.get(service.url + "/models/digits", timeout=5).json()
    return {version["version"]: version for version in model["versions"]}


def live_version(service) -> int:
    return requests.get(service.url + "/models/digits", timeout=5).json()["live"]


def test_a_new_version_goes_live_and_back_without_a_failed_request(exports, tmp_path):
    with running_service(exports, tmp_path) as service, Load(service, golden_image(exports)) as load:
        load.wait_for(20)
        assert publish(exports / "digits" / "1", exports) == 2
        wait_until(lambda: live_version(service) == 2, service)
        load.wait_for(50)
        assert versions_of(service)[1]["state"] == "available"  # kept warm for a rollback
        set_live(exports, "digits", 1)
        wait_until(lambda: live_version(service) == 1, service)
        load.wait_for(50)
    load.assert_all_answered()
    order = [body["version"] for _, body in load.answers]
    assert {1, 2} == set(order)
    assert order[-1] == 1


UPLOADS = {  # a path of each protocol, and how it wants an image
    "/classify": lambda image: image,
    "/predictions/digits": lambda image: image,
    "/v2/models/digits/infer": lambda image: json.dumps(
        {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(image).decode()]}]}
    ).encode(),
    "/v1/models/digits:predict": lambda image: json.dumps(
        {"instances": [{"b64": base64.b64encode(image).decode()}]}
    ).encode(),
    "/v1/models/digits/labels/live:predict": lambda image: json.dumps(
        {"instances": [{"b64": base64.b64encode(image).decode()}]}
    ).encode(),
}


def test_an_upload_that_takes_longer_than_its_version_lives_is_answered_by_the_next(exports, tmp_path):
    with running_service(exports, tmp_path, workers=1, read_timeout_s=60, deadline_s=60) as service:
        host, port = service.url.removeprefix("http://").split(":")
        uploads = []
        for path, encode in UPLOADS.items():
            body = encode(golden_image(exports))
            upload = socket.create_connection((host, int(port)))
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            upload.sendall(head.encode() + body[:10])
            uploads.append((upload, body[10:]))
        for version in (2, 3):
            publish(exports / "digits" / "1", exports)
            wait_until(lambda version=version: live_version(service) == version, service)
        wait_until(lambda: 1 not in versions_of(service), service)
        for upload, rest in uploads:
            upload.sendall(rest)
            upload.settimeout(20)
            answer = b"".join(iter(lambda upload=upload: upload.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            upload.close()


def test_never_more_than_two_engines_while_versions_pour_in(exports, tmp_path):
    with running_service(exports, tmp_path) as service, Load(service, golden_image(exports)) as load:
        most = 0
        for _ in range(6):
            publish(exports / "digits" / "1", exports)
            most = max(most, len(service.engines()))
        wait_until(lambda: live_version(service) == 7, service)
        assert max(most, len(service.engines())) <= 2
    load.assert_all_answered()


def break_manifest(bundle: Path) -> None:
    (bundle / "assets.extra" / "manifest.json").unlink()


def flip_a_bit(bundle: Path) -> None:
    path = bundle / "variables" / "variables.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_the_graph(bundle: Path) -> None:
    path = bundle / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize("damage", [break_manifest, flip_a_bit, cut_the_graph])
def test_a_damaged_version_is_reported_and_never_answers(exports, tmp_path, damage):
    with running_service(exports, tmp_path) as service, Load(service, golden_image(exports)) as load:
        load.wait_for(5)
        shutil.copytree(exports / "digits" / "1", tmp_path / "damaged")
        damage(tmp_path / "damaged")
        (tmp_path / "damaged").rename(exports / "digits" / "2")
        (exports / "digits" / "live.json").write_text('{"live": 2, "previous": 1}')
        wait_until(lambda: versions_of(service).get(2, {}).get("state") == "rejected", service)
        assert versions_of(service)[2]["reason"]
        assert (
            requests.post(f"{service.url}/models/digits/versions/2/classify", data=b"x", timeout=5).status_code == 404
        )
        load.wait_for(20)
        assert live_version(service) == 1
        assert status_of(service, "/readyz") == 200
    load.assert_all_answered()
    assert {body["version"] for _, body in load.answers} == {1}


def test_a_rejected_version_that_is_mended_goes_live(exports, tmp_path):
    with running_service(exports, tmp_path) as service:
        shutil.copytree(exports / "digits" / "1", exports / "digits" / "2")
        manifest = exports / "digits" / "2" / "assets.extra" / "manifest.json"
        sealed = manifest.read_bytes()
        manifest.unlink()
        (exports / "digits" / "live.json").write_text('{"live": 2, "previous": 1}')
        wait_until(lambda: versions_of(service).get(2, {}).get("state") == "rejected", service)
        assert live_version(service) == 1
        manifest.write_bytes(sealed)
        wait_until(lambda: live_version(service) == 2, service)
        assert versions_of(service)[2]["reason"] is None


def test_a_version_that_is_copied_slowly_goes_live_when_it_is_all_there(exports, tmp_path):
    source, target = exports / "digits" / "1", exports / "digits" / "2"
    large = Path("variables/variables.data-00000-of-00001")
    with running_service(exports, tmp_path) as service:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(large.name))
        (exports / "digits" / "live.json").write_text('{"live": 2, "previous": 1}')
        wait_until(lambda: 2 in versions_of(service), service)
        waiting = versions_of(service)[2]
        assert waiting["state"] == "loading"
        assert waiting["reason"].startswith("waiting for 1 of the ")
        listing = python("-m", "service", "models", "--exports", exports)
        assert re.search(r" 2  incomplete: waiting for 1 of the .*  live$", listing, re.MULTILINE)
        content = (source / large).read_bytes()
        (target / large).write_bytes(content[:1000])
        wait_until(lambda: versions_of(service)[2]["state"] == "rejected", service)
        listing = python("-m", "service", "models", "--exports", exports)
        assert re.search(r" 2  broken: .*has altered.*  live$", listing, re.MULTILINE)
        with (target / large).open("ab") as file:
            file.write(content[1000:])
        wait_until(lambda: live_version(service) == 2, service)


def test_a_broken_model_takes_nothing_from_the_others(exports, tmp_path):
    broken = make_bundle(tmp_path / "bundle", model="broken")  # its files are no network
    publish(broken, exports)
    image = golden_image(exports)
    with running_service(exports, tmp_path) as service:  # that it is ready says that one that answers is enough
        wait_until(lambda: state_of(service, "broken") == "rejected", service)
        assert requests.get(service.url + "/readyz", timeout=10).json()["models"] == ["digits"]
        assert status_of(service, "/ping") == 200
        assert requests.post(service.url + "/models/digits/classify", data=image, timeout=10).status_code == 200
        refused = requests.post(service.url + "/models/broken/classify", data=image, timeout=10)
        assert refused.status_code == 503
    with running_service(exports, tmp_path, ready=False, required_models="digits, broken") as service:
        wait_until(lambda: state_of(service, "broken") == "rejected", service)
        assert status_of(service, "/readyz") == 503


def state_of(service, model: str) -> str:
    (version,) = requests.get(f"{service.url}/models/{model}", timeout=5).json()["versions"]
    return version["state"]


def test_a_model_whose_golden_images_get_other_answers_is_rejected(exports, tmp_path):
    from dataclasses import replace

    from models.bundle.manifest import read_manifest, write_manifest

    bundle = tmp_path / "bundle"
    shutil.copytree(exports / "digits" / "1", bundle)
    golden = bundle / "assets.extra" / "golden"
    (golden / "3").write_bytes((golden / "4").read_bytes())
    write_manifest(bundle, replace(read_manifest(bundle), files={}))  # sealed anew: the checksums hold
    publish(bundle, exports)
    with running_service(exports, tmp_path, ready=False) as service:
        wait_until(lambda: versions_of(service).get(2, {}).get("state") == "rejected", service)
        assert "golden image" in versions_of(service)[2]["reason"]
        assert status_of(service, "/readyz") == 503


def test_an_engine_killed_under_load_is_replaced_and_no_request_fails(exports, tmp_path):
    with running_service(exports, tmp_path) as service, Load(service, golden_image(exports), num_clients=8) as load:
        for _ in range(3):
            load.wait_for(20)
            os.kill(service.engine(1), signal.SIGKILL)
            load.wait_for(20)
        assert metric(service, "striate_engine_restarts") == 3
    load.assert_all_answered()


def waiting_spare(service) -> int:
    """The spare, once it has imported everything."""
    wait_until(lambda: any(f"process {pid} waits" in service.log() for pid in service.spares()), service)
    (spare,) = service.spares()
    return spare


def test_the_spare_takes_over_from_an_engine_that_dies_and_there_is_another_one_then(exports, tmp_path):
    with running_service(exports, tmp_path, log_level="DEBUG") as service:
        spare = waiting_spare(service)
        with Load(service, golden_image(exports)) as load:
            load.wait_for(5)
            os.kill(service.engine(1), signal.SIGKILL)
            load.wait_for(20)
            assert service.engines() == [spare]
            assert (os.sched_getscheduler(spare), os.getpriority(os.PRIO_PROCESS, spare)) == (os.SCHED_OTHER, 0)
        assert waiting_spare(service) != spare
    load.assert_all_answered()


def test_without_a_spare_an_engine_that_dies_is_replaced_all_the_same(exports, tmp_path):
    with running_service(exports, tmp_path, log_level="DEBUG") as service:
        spare = waiting_spare(service)
        os.kill(spare, signal.SIGKILL)
        wait_until(lambda: f"process {spare} ended" in service.log(), service)
        os.kill(service.engine(1), signal.SIGKILL)
        answer = requests.post(service.url + "/classify", data=golden_image(exports), timeout=30)
        assert answer.status_code == 200


def test_a_new_version_beside_one_that_answers_is_verified_in_idle_time_and_loaded_by_the_spare(exports, tmp_path):
    with running_service(exports, tmp_path, log_level="DEBUG") as service:
        spare = waiting_spare(service)
        publish(exports / "digits" / "1", exports)
        wait_until(lambda: live_version(service) == 2, service)
        assert "digits version 2: process" in service.log()
        assert service.engine(2) == spare


def test_a_hung_engine_is_killed_and_replaced(exports, tmp_path):
    with running_service(exports, tmp_path, hang_timeout_s=2) as service:
        hung = service.engine(1)
        os.kill(hung, signal.SIGSTOP)
        with Load(service, golden_image(exports)) as load:
            load.wait_for(10)
        load.assert_all_answered()
        assert service.engine(1) != hung


def test_an_http_worker_killed_is_replaced_and_what_it_and_an_engine_counted_is_kept(exports, tmp_path):
    with running_service(exports, tmp_path, workers=2) as service:
        requests.post(service.url + "/classify", data=golden_image(exports), timeout=30)
        answered = r'striate_requests_total\{route="/classify",status="200"\}'
        wait_until(lambda: metric(service, answered) == metric(service, r"striate_batch_size_sum") - 1 == 1, service)
        engine = service.engine(1)
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: metric(service, "striate_engine_restarts") == 1, service)
        master = min(service.pids("service.worker"))
        killed = max(service.pids("service.worker"))
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(set(service.pids("service.worker")) - {master, killed}) == 2, service)
        answer = requests.post(service.url + "/classify", data=golden_image(exports), timeout=30)
        assert answer.status_code == 200
        variables = Path(f"/proc/{master}/environ").read_bytes().split(b"\0")
        (runtime,) = [Path(v.decode().partition("=")[2]) for v in variables if v.startswith(b"STRIATE_RUNTIME=")]
        wait_until(lambda: metric(service, answered) == 2, service)
        counted = metric(service, r"striate_inference_seconds_count")

        def left_behind() -> list[re.Match[str]]:
            named = [re.search(rf"(^|[_-])({engine}|{killed})(\.|$)", path.name) for path in runtime.rglob("*")]
            return [match for match in named if match]

        wait_until(lambda: not left_behind(), service)
        assert metric(service, r"striate_inference_seconds_count") >= counted >= 2
        assert metric(service, r'striate_requests_total\{route="/classify",status="200"\}') == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("keeps_connections", [True, False])
def test_asked_to_stop_under_load_it_answers_every_request_that_it_took(exports, tmp_path, number, keeps_connections):
    with running_service(exports, tmp_path, drain_delay_s=0.5) as service:
        idle = socket.create_connection(("127.0.0.1", int(service.url.rsplit(":", 1)[1])))
        statuses: list[int] = []
        load = Load(service, golden_image(exports), num_clients=8, keeps_connections=keeps_connections)
        with load:
            load.wait_for(20)
            stopper = threading.Thread(target=lambda: statuses.append(service.stop(number)))
            stopper.start()
            wait_until_not_ready(service)
            stopper.join()
        children = descendants(service.process.pid)
        idle.close()
    assert statuses == [0]
    assert not children
    assert {status for status, _ in load.answers} == {200}
    assert len(load.failures) == 8
    lost = [failure for failure in load.failures if "Connection refused" not in failure]
    assert not lost


def wait_until_not_ready(service) -> None:
    seen = 200
    while seen == 200:
        seen = status_of(service, "/readyz")
    assert seen in (0, 503)


def test_when_the_supervisor_is_killed_nothing_is_left_behind(exports, tmp_path):
    with running_service(exports, tmp_path) as service:
        wait_until(lambda: len(service.spares()) == 1, service)
        children = descendants(service.process.pid)
        assert len(children) >= 4
        service.stop(signal.SIGKILL)
    for pid in children:
        wait_for_end(pid)
    socket.create_server(("127.0.0.1", int(service.url.rsplit(":", 1)[1]))).close()  # and nobody has the port


def test_workers_that_are_still_starting_end_with_the_supervisor_too(tmp_path):
    with running_service(tmp_path / "empty", tmp_path, ready=False, workers=6) as service:
        children = descendants(service.process.pid)
        assert len(children) >= 2  # gunicorn's master, and a worker at least
        service.stop(signal.SIGKILL)
    for pid in children:
        wait_for_end(pid)


def test_no_process_of_the_cpu_service_loads_tensorflow(exports, tmp_path):
    with running_service(exports, tmp_path) as service:
        requests.post(service.url + "/classify", data=golden_image(exports), timeout=30)
        for pid in (service.process.pid, *descendants(service.process.pid)):
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "site-packages/tensorflow" not in maps
            assert "site-packages/keras" not in maps


def test_in_no_process_of_the_service_numpy_has_threads_that_take_time_from_the_model(exports, tmp_path):
    with running_service(exports, tmp_path) as service:
        wait_until(lambda: len(service.spares()) == 1, service)
        for pid in descendants(service.process.pid):
            assert b"OPENBLAS_NUM_THREADS=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_without_a_model_it_is_alive_and_not_ready_and_takes_the_first_that_comes(exports, tmp_path):
    empty = tmp_path / "empty"
    with running_service(empty, tmp_path, ready=False) as service:
        assert status_of(service, "/readyz") == 503
        response = requests.post(service.url + "/classify", data=b"x", timeout=5)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        publish(exports / "digits" / "1", empty)
        wait_until(lambda: status_of(service, "/readyz") == 200, service)


def test_the_tensorflow_engine_gives_the_answers_that_were_exported(exports, tmp_path):
    expected = {row.file: row.probabilities for row in list_golden(exports / "digits" / "1")}["7"]
    with running_service(exports, tmp_path, engine="tensorflow", max_batch_size=4) as service:
        answer = requests.post(service.url + "/classify?top_k=10", data=golden_image(exports, "7"), timeout=30).json()
    (prediction,) = answer["predictions"]
    got = {row["label"]: row["probability"] for row in prediction["top"]}
    assert [got[str(digit)] for digit in range(10)] == pytest.approx(expected, abs=TOLERANCE["bfloat16"])
