"""`striate serve --model PATH` as a process of its own, asked over HTTP."""

import base64
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.harness import START_TIMEOUT_S, RunningService, descendants, wait_for_end, wait_until
from tests.processes import free_port, python, start

HEADER_LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("saved-models")
    python("-m", "tests.service.look.write", home)
    return home


@contextlib.contextmanager
def looking_at(path: Path, work: Path, **settings: object) -> Iterator[RunningService]:
    port = free_port()
    variables = {f"SERVICE_{name.upper()}": str(value) for name, value in settings.items()} | {
        "SERVICE_PORT": str(port)
    }
    log_path = work / f"look-{port}.log"
    process = start("-m", "service", "--model", path, log=log_path, **variables)
    host = f"[{settings['host']}]" if ":" in str(settings.get("host", "")) else "127.0.0.1"
    service = RunningService(process, f"http://{host}:{port}", log_path)
    try:
        wait_until(lambda: "Striate answers at" in service.log(), service, START_TIMEOUT_S)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def mixed(saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with looking_at(saved_models / "versions", tmp_path_factory.mktemp("mixed")) as service:
        yield service
        assert service.stop() == 0, service.log()
        assert "Traceback" not in service.log()


def post(service: RunningService, path: str, body: Any, **headers: str) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(service.url + path, data=data, headers=headers, timeout=20)


def predict(service: RunningService, body: Any, name: str = "versions") -> tuple[int, Any]:
    answer = post(service, f"/v1/models/{name}:predict", body)
    return answer.status_code, answer.json()


def infer(service: RunningService, body: Any, name: str = "versions", **headers: str) -> tuple[int, Any]:
    answer = post(service, f"/v2/models/{name}/infer", body, **headers)
    return answer.status_code, answer.json()


ROWS = {"instances": [{"x": [1, 2], "n": 3}, {"x": [0.5, 2], "n": 4}]}
X = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 0.5, 2]}
N = {"name": "n", "datatype": "INT32", "shape": [2], "data": [3, 4]}


def test_the_highest_version_answers_in_rows_and_in_columns(mixed):
    assert predict(mixed, ROWS) == (200, {"predictions": [{"odd": True, "total": 30.0}, {"odd": False, "total": 25.0}]})
    columns = {"inputs": {"x": [[1, 2], [0.5, 2]], "n": [3, 4]}, "signature_name": "serving_default"}
    assert predict(mixed, columns) == (200, {"outputs": {"odd": [True, False], "total": [30.0, 25.0]}})
    numbered = post(mixed, "/v1/models/versions/versions/10:predict", ROWS)
    assert numbered.status_code == 200
    assert post(mixed, "/v1/models/versions/versions/2:predict", ROWS).status_code == 404


def test_it_says_what_it_takes_in_the_words_of_both_protocols(mixed):
    status = requests.get(mixed.url + "/v1/models/versions", timeout=5).json()
    assert status["model_version_status"][0] | {"status": {}} == {"version": "10", "state": "AVAILABLE", "status": {}}
    metadata = requests.get(mixed.url + "/v1/models/versions/metadata", timeout=5).json()
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [size["size"] for size in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "2"]
    assert signature["outputs"]["odd"]["dtype"] == "DT_BOOL"
    described = requests.get(mixed.url + "/v2/models/versions", timeout=5).json()
    assert {"name": "x", "datatype": "FP32", "shape": [-1, 2]} in described["inputs"]
    assert {"name": "odd", "datatype": "BOOL", "shape": [-1]} in described["outputs"]
    assert requests.get(mixed.url + "/v2/models/versions/ready", timeout=5).json() == {
        "ready": True,
        "name": "versions",
    }


def test_tensors_of_open_inference_come_and_go_in_json_and_in_binary(mixed):
    status, answer = infer(mixed, {"inputs": [X, N], "id": "7", "outputs": [{"name": "total"}]})
    assert (status, answer["id"], answer["model_version"]) == (200, "7", "10")
    assert answer["outputs"] == [{"name": "total", "datatype": "FP32", "shape": [2], "data": [30.0, 25.0]}]
    nested = {**X, "data": [[1, 2], [0.5, 2]]}
    binary = [{k: v for k, v in given.items() if k != "data"} for given in (X, N)]
    binary = [one | {"parameters": {"binary_data_size": size}} for one, size in zip(binary, (16, 8), strict=True)]
    head = json.dumps({"inputs": binary, "parameters": {"binary_data_output": True}}).encode()
    body = head + np.array([1, 2, 0.5, 2], "<f4").tobytes() + np.array([3, 4], "<i4").tobytes()
    raw = post(mixed, "/v2/models/versions/infer", body, **{HEADER_LENGTH: str(len(head))})
    length = int(raw.headers[HEADER_LENGTH])
    described = json.loads(raw.content[:length])["outputs"]
    assert [one["parameters"]["binary_data_size"] for one in described] == [2, 8]
    assert raw.content[length:] == bytes([1, 0]) + np.array([30, 25], "<f4").tobytes()
    assert infer(mixed, {"inputs": [nested, N]})[0] == 200


NOT_PREDICTED: list[tuple[Any, str]] = [
    (b"{", "not valid JSON"),
    (b"\xff", "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    ([], "'instances' (rows)"),
    ({}, "'instances' (rows)"),
    ({**ROWS, "inputs": {}}, "'instances' (rows)"),
    ({"instances": []}, "one instance or more"),
    ({"instances": {"x": 1}}, "Expected `array`, got `object` - at `$.instances`"),
    ({"instances": [[1, 2]]}, "n (INT32 of shape [-1]), x (FP32 of shape [-1, 2])"),
    ({"inputs": [[1, 2]]}, "several inputs"),
    ({"instances": [{"x": [1, 2]}]}, "The input n is missing"),
    ({"instances": [{"x": [1, 2], "n": 1}, {"x": [1, 2]}]}, "the same keys"),
    ({"instances": [{"x": [1, 2], "n": 1, "z": 1}]}, "There is no input 'z'"),
    ({"instances": [{"x": [1, 2, 3], "n": 1}]}, "shape [1, 3]; it takes FP32 of shape [-1, 2], where -1 is any size"),
    ({"instances": [{"x": [1, 2], "n": [1]}]}, "shape [1, 1]; it takes INT32 of shape [-1]"),
    ({"instances": [{"x": [1, [2]], "n": 1}]}, "a list among values"),
    ({"inputs": {"x": [[1, 2], [3]], "n": [1, 2]}}, "ragged"),
    ({"inputs": {"x": [[1, [2]]], "n": [1]}}, "a list among values"),
    ({"inputs": {"x": [], "n": []}}, "is empty"),
    ({"instances": [{"x": ["1", 2], "n": 1}]}, "has '1'; it takes FP32"),
    ({"instances": [{"x": [None, 2], "n": 1}]}, "has None"),
    ({"instances": [{"x": [1, 2], "n": 1.5}]}, "has 1.5; it takes INT32: whole numbers from -2147483648"),
    ({"instances": [{"x": [1, 2], "n": True}]}, "has True"),
    ({"instances": [{"x": [1, 2], "n": 2**31}]}, "has 2147483648"),
    ({"instances": [{"x": [1, 10**400], "n": 1}]}, "it takes FP32"),
    (b'{"instances": [{"x": [1, 1e999], "n": 1}]}', "has inf"),
    (b'{"instances": [{"x": [1, NaN], "n": 1}]}', "NaN is not JSON"),
    ({**ROWS, "signature_name": "other"}, "serving_default is served"),
    ({**ROWS, "signature_name": 5}, "signature_name"),
]


@pytest.mark.parametrize(("body", "said"), NOT_PREDICTED)
def test_a_prediction_that_cannot_be_made_is_400_with_what_came_and_what_is_accepted(mixed, body, said):
    status, answer = predict(mixed, body)
    assert status == 400, answer
    assert said in answer["error"]


NOT_INFERRED: list[tuple[Any, str]] = [
    (b"", "not valid JSON"),
    ({"inputs": []}, "inputs"),
    ({"inputs": [X]}, "The input n is missing"),
    ({"inputs": [X, X, N]}, "came twice"),
    ({"inputs": [{**X, "name": "z"}, N]}, "There is no input 'z'"),
    ({"inputs": [{**X, "datatype": "FP64"}, N]}, "came as 'FP64'; it takes FP32"),
    ({"inputs": [{**X, "shape": [4]}, N]}, "shape [4]; it takes FP32 of shape [-1, 2]"),
    ({"inputs": [{**X, "shape": [3, 2]}, N]}, "4 elements came"),
    ({"inputs": [{**X, "shape": [2**31 - 1] * 32}, N]}, "4 elements came"),
    ({"inputs": [{**X, "shape": [0, 2], "data": []}, N]}, "is empty"),
    ({"inputs": [{**X, "data": [1, 2, 3, "4"]}, N]}, "has '4'"),
    ({"inputs": [{**X, "parameters": {"binary_data_size": 4}}, N]}, "'binary_data_size' is 4"),
    ({"inputs": [{**X, "parameters": {"binary_data_size": -1}}, N]}, "'binary_data_size' is -1"),
    ({"inputs": [X, N], "outputs": [{"name": "z"}]}, "There is no output 'z'"),
]


@pytest.mark.parametrize(("body", "said"), NOT_INFERRED)
def test_tensors_that_the_model_does_not_take_are_400_with_what_came_and_what_is_accepted(mixed, body, said):
    status, answer = infer(mixed, body)
    assert status == 400, answer
    assert said in answer["error"]
    assert infer(mixed, body, **{HEADER_LENGTH: "99999999"})[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/classify", 409),
        ("POST", "/models/versions/classify", 409),
        ("POST", "/models/versions/feedback", 409),
        ("GET", "/", 409),
        ("GET", "/label", 409),
        ("POST", "/predictions/versions", 409),
        ("POST", "/v1/models/versions:classify", 409),
        ("POST", "/v1/models/versions:regress", 409),
        ("GET", "/metrics", 404),
        ("GET", "/nothing", 404),
    ],
)
def test_what_needs_labels_says_how_to_import_the_model(mixed, saved_models, method, path, status):
    answer = requests.request(method, mixed.url + path, data=b"an image", timeout=5)
    assert answer.status_code == status
    assert f"striate import {saved_models / 'versions'} --name versions" in answer.text


def test_classes_by_open_inference_say_how_to_import_the_model(mixed):
    wanted = [{"name": "total", "parameters": {"classification": 2}}]
    status, answer = infer(mixed, {"inputs": [X, N], "outputs": wanted})
    assert status == 409
    assert "striate import" in answer["error"]


def test_its_start_says_what_goes_in_and_out_and_how_to_import_it(mixed, saved_models):
    wait_until(lambda: "--name versions" in mixed.log(), mixed)
    for line in (
        "input   n: INT32 of shape [-1]",
        "input   x: FP32 of shape [-1, 2]",
        "output  odd: BOOL of shape [-1]",
    ):
        assert line in mixed.log()
    assert f"striate import {saved_models / 'versions'} --name versions" in mixed.log()


def test_other_paths_methods_and_sizes_are_no_faults_of_ours(mixed):
    assert requests.get(mixed.url + "/v1/models/versions:predict", timeout=5).status_code == 400
    assert requests.get(mixed.url + "/v1/other", timeout=5).status_code == 400
    assert requests.get(mixed.url + "/v1/models/other", timeout=5).status_code == 404
    assert requests.get(mixed.url + "/v2/models/other", timeout=5).status_code == 404
    assert requests.get(mixed.url + "/v2/models/versions/infer", timeout=5).status_code == 405
    assert post(mixed, "/v1/models/versions:predict", b" " * 16_000_001).status_code == 413
    packed = post(mixed, "/v1/models/versions:predict", b"no gzip", **{"Content-Encoding": "gzip"})
    assert packed.status_code == 400


def test_texts_go_in_and_out_and_bytes_are_base64(saved_models, tmp_path):
    with looking_at(saved_models / "texts", tmp_path) as service:
        raw = base64.b64encode(b"\xff\x00").decode()
        status, answer = predict(service, {"instances": ["größe", {"b64": raw}]}, "texts")
        assert status == 200, answer
        first, second = answer["predictions"]
        assert first == {"raw_bytes": {"b64": base64.b64encode("größe".encode()).decode()}, "shouted": "GRößE"}
        assert second == {"raw_bytes": {"b64": raw}, "shouted": {"b64": raw}}, "not UTF-8: no text of JSON"
        assert predict(service, {"instances": [{"b64": "?"}]}, "texts")[0] == 400
        assert predict(service, {"instances": [5]}, "texts")[1]["error"].startswith("The input text has 5")
        text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["abc"]}
        assert infer(service, {"inputs": [text]}, "texts")[1]["outputs"][1]["data"] == ["ABC"]
        head = json.dumps({"inputs": [{**text, "data": None, "parameters": {"binary_data_size": 6}}]})
        head = head.replace('"data": null, ', "")
        body = head.encode() + (2).to_bytes(4, "little") + b"\xff\x00"
        status, answer = infer(service, body, "texts", **{HEADER_LENGTH: str(len(head))})
        assert (status, "binary_data" in answer["error"]) == (400, True)
        assert service.stop() == 0


def test_a_keras_export_answers_and_a_fault_at_run_time_is_the_requests(saved_models, tmp_path):
    with looking_at(saved_models / "Keras export", tmp_path) as service:
        status, answer = predict(service, {"instances": [[1, 2, 3], [0, 0, 0]]}, "keras-export")
        assert status == 200, answer
        assert answer["predictions"][1] == [0.5, 0.5]
        assert sum(answer["predictions"][0]) == pytest.approx(1)
    with looking_at(saved_models / "strict", tmp_path) as service:
        status, answer = predict(service, {"inputs": {"x": [1, 2], "y": [1, 2, 3]}}, "strict")
        assert status == 400
        assert answer["error"].startswith("The model does not compute these inputs: ")
        assert predict(service, {"inputs": {"x": [2, 3], "y": [4, 5]}}, "strict")[1] == {"outputs": [8, 15]}


def test_openvino_computes_the_same_where_it_is_asked_for(saved_models, tmp_path):
    with looking_at(saved_models / "versions", tmp_path, engine="openvino") as service:
        expected = {"predictions": [{"odd": True, "total": 30.0}, {"odd": False, "total": 25.0}]}
        assert predict(service, ROWS) == (200, expected)
        assert service.stop() == 0


def test_a_model_that_may_write_files_is_refused_before_anything_runs(saved_models):
    said = python("-m", "service", "--model", saved_models / "hostile", status=1)
    assert said.startswith("Error: ")
    assert "the operation WriteFile" in said
    assert not (saved_models / "canary").exists()


REFUSED = [
    ("hostile/variables", "has no saved_model.pb and no numbered folder"),
    ("nowhere", "does not exist"),
    ("texts/saved_model.pb", "is a file; --model takes the folder of a SavedModel"),
]


@pytest.mark.parametrize(("path", "said"), REFUSED)
def test_what_is_no_saved_model_is_refused_in_one_sentence(saved_models, path, said):
    assert said in python("-m", "service", "--model", saved_models / path, status=1)


def test_a_model_whose_files_are_damaged_ends_with_a_sentence(saved_models, tmp_path):
    damaged = shutil.copytree(saved_models / "versions" / "2", tmp_path / "damaged")
    shutil.rmtree(damaged / "variables")
    process = start("-m", "service", "--model", damaged, log=tmp_path / "log", SERVICE_PORT=str(free_port()))
    assert process.wait(60) == 1
    said = (tmp_path / "log").read_text()
    assert said.startswith(f"Error: tensorflow cannot load {damaged}: ")
    assert "Traceback" not in said


def test_it_does_not_outlive_its_master_and_a_worker_that_dies_is_replaced(saved_models, tmp_path):
    with looking_at(saved_models / "versions", tmp_path, engine="openvino") as service:
        (worker,) = descendants(service.process.pid)
        os.kill(worker, signal.SIGKILL)
        wait_for_end(worker)
        wait_until(lambda: service.log().count("Striate answers at") == 2, service)
        assert predict(service, ROWS)[0] == 200
        (worker,) = descendants(service.process.pid)
        service.stop(signal.SIGKILL)
        wait_for_end(worker)


def test_many_ask_at_once_and_each_gets_its_own_answer(mixed):
    def ask(number: int) -> tuple[int, Any]:
        return predict(mixed, {"instances": [{"x": [number, 0], "n": number}]})

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, range(200)))
    assert answers == [(200, {"predictions": [{"odd": n % 2 == 1, "total": n * 10.0}]}) for n in range(200)]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_only_this_machine_may_look(saved_models, tmp_path, host):
    log = tmp_path / "log"
    process = start("-m", "service", "--model", saved_models / "texts", log=log, SERVICE_HOST=host)
    assert process.wait(30) == 1
    said = log.read_text()
    assert said.startswith(f"Error: SERVICE_HOST is {host}, and --model serves this machine alone")
    assert "striate import" in said


def test_texts_are_not_for_openvino(saved_models, tmp_path):
    log = tmp_path / "log"
    process = start("-m", "service", "--model", saved_models / "texts", log=log, SERVICE_ENGINE="openvino")
    assert process.wait(30) == 1
    assert "takes or returns texts" in log.read_text()


@pytest.mark.parametrize(
    ("number", "engine"),
    [(signal.SIGTERM, "tensorflow"), (signal.SIGINT, "openvino"), (signal.SIGHUP, "openvino")],
)
def test_a_signal_ends_it_while_it_answers_and_while_it_loads(saved_models, tmp_path, number, engine):
    with looking_at(saved_models / "versions" / "2", tmp_path, host="::1", engine=engine) as service:
        assert predict(service, {"inputs": {"x": [[1, 2]], "n": [1]}})[1]["outputs"]["total"] == [3.0]
        below = descendants(service.process.pid)
        assert service.stop(number, timeout=10) == 0
        for pid in below:
            wait_for_end(pid)
        assert "Traceback" not in service.log()
    log = tmp_path / "loading"
    process = start("-m", "service", "--model", saved_models / "versions", log=log, SERVICE_PORT=str(free_port()))
    loading = RunningService(process, "", log)
    wait_until(lambda: bool(descendants(process.pid)), loading)
    assert loading.stop(number, timeout=10) == 0, log.read_text()


def test_a_key_that_is_set_is_asked_for(saved_models, tmp_path):
    key = "a-key-of-16-characters"
    with looking_at(saved_models / "versions", tmp_path, predict_keys=key, engine="openvino") as service:
        assert predict(service, ROWS)[0] == 401
        assert post(service, "/v1/models/versions:predict", ROWS, **{"X-API-Key": key}).status_code == 200
