"""Clients that others wrote, against the real service: Triton's, KServe's, and curl as TensorFlow Serving is asked."""

import asyncio
import base64
import json
import subprocess
import time

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.inference_client import InferResponse

from models.bundle.preprocessing import InputSpec, decode_image
from tests.harness import golden_image

SPEC = InputSpec(32, 32, 1)


@pytest.fixture(scope="module")
def encoded(digits_exports) -> list[bytes]:
    return [golden_image(digits_exports, name) for name in "340"]


@pytest.fixture(scope="module")
def pixels(encoded) -> np.ndarray:
    return np.stack([decode_image(data, SPEC) for data in encoded])


@pytest.fixture(scope="module")
def base64s(encoded) -> list[str]:
    return [base64.b64encode(data).decode() for data in encoded]


@pytest.fixture
def client(digits_service):
    with triton.InferenceServerClient(digits_service.removeprefix("http://")) as client:
        yield client


def curl(*arguments: str) -> dict:
    done = subprocess.run(["curl", "--silent", "--show-error", *arguments], capture_output=True, check=True)
    return json.loads(done.stdout)


# Triton's client


def test_tritonclient_finds_the_server_alive_and_the_model_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("cats")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]


def test_tritonclient_reads_what_the_model_takes_and_gives(client):
    metadata = client.get_model_metadata("digits")
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 1]}]
    assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tritonclient_gets_probabilities_of_pixels(client, pixels, binary_in, binary_out):
    images = triton.InferInput("images", list(pixels.shape), "UINT8")
    images.set_data_from_numpy(pixels, binary_data=binary_in)
    wanted = triton.InferRequestedOutput("probabilities", binary_data=binary_out)
    answer = client.infer("digits", [images], outputs=[wanted], request_id="mine")
    assert answer.get_response()["id"] == "mine"
    assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == [3, 4, 0]


def test_tritonclient_gets_classes_of_encoded_images_of_any_size(client, encoded):
    images = triton.InferInput("images", [3], "BYTES")
    images.set_data_from_numpy(np.array(encoded, object))
    answer = client.infer("digits", [images], outputs=[triton.InferRequestedOutput("probabilities", class_count=2)])
    classes = answer.as_numpy("probabilities")
    assert classes.shape == (3, 2)
    assert [row[0].decode().split(":")[1:] for row in classes] == [["3", "3"], ["4", "4"], ["0", "0"]]


def test_tritonclient_without_outputs_gets_all_there_are(client, pixels):
    images = triton.InferInput("images", [1, 32, 32, 1], "UINT8")
    images.set_data_from_numpy(pixels[:1])
    compressed = client.infer(
        "digits", [images], request_compression_algorithm="gzip", response_compression_algorithm="gzip"
    )
    assert compressed.as_numpy("probabilities").argmax() == 3


def test_tritonclient_is_told_what_is_wrong(client, pixels):
    wrong_name = triton.InferInput("pictures", [1, 32, 32, 1], "UINT8")
    wrong_name.set_data_from_numpy(pixels[:1])
    wrong_shape = triton.InferInput("images", [1, 2, 2, 1], "UINT8")
    wrong_shape.set_data_from_numpy(np.zeros((1, 2, 2, 1), np.uint8))
    for images, message in ((wrong_name, "unexpected inference input 'pictures'"), (wrong_shape, "takes one or more")):
        with pytest.raises(triton.InferenceServerException, match=message) as refused:
            client.infer("digits", [images])
        assert refused.value.status() == "400"
    with pytest.raises(triton.InferenceServerException, match="unknown model: model 'cats' is not found"):
        client.infer("cats", [wrong_shape])


def test_tritonclient_lists_the_repository_and_reads_statistics(client, pixels):
    assert client.get_model_repository_index() == [{"name": "digits", "version": "1", "state": "READY", "reason": ""}]
    images = triton.InferInput("images", [2, 32, 32, 1], "UINT8")
    images.set_data_from_numpy(pixels[:2])

    def counts() -> tuple[int, int]:
        (stats,) = client.get_inference_statistics("digits")["model_stats"]
        return stats["inference_count"], stats["inference_stats"]["success"]["count"]

    time.sleep(0.5)  # what earlier requests count follows their answers
    before = counts()
    client.infer("digits", [images])
    deadline = time.monotonic() + 5  # counts follow an answer within a tenth of a second
    while np.subtract(counts(), before).tolist() != [2, 1]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_an_admins_key_tritonclient_unloads_nothing(client):
    with pytest.raises(triton.InferenceServerException, match="no SERVICE_ADMIN_KEYS"):
        client.unload_model("digits")
    assert client.is_model_ready("digits")


# KServe's client


def ask_kserve(service: str, protocol: str, data):
    async def ask():
        client = InferenceRESTClient(RESTConfig(protocol=protocol, retries=0, timeout=30))
        ready = await client.is_model_ready(service, "digits")
        answer = await client.infer(service, data, model_name="digits")
        await client.close()
        return ready, answer

    return asyncio.run(ask())


def test_kserve_speaks_its_first_protocol(digits_service, base64s):
    ready, answer = ask_kserve(digits_service, "v1", {"instances": [{"b64": image} for image in base64s]})
    assert ready
    assert np.argmax(answer["predictions"], axis=1).tolist() == [3, 4, 0]


def test_kserve_speaks_its_second_protocol(digits_service, pixels):
    images = InferInput("images", list(pixels.shape), "UINT8")
    images.set_data_from_numpy(pixels, binary_data=True)
    ready, answer = ask_kserve(digits_service, "v2", InferRequest(model_name="digits", infer_inputs=[images]))
    assert ready
    assert isinstance(answer, InferResponse)
    assert answer.outputs[0].as_numpy().reshape(3, 10).argmax(axis=1).tolist() == [3, 4, 0]


# curl, as TensorFlow Serving, TorchServe and Triton are asked


def test_tensorflow_serving_takes_rows_of_base64_and_of_pixels(digits_service, base64s, pixels):
    url = f"{digits_service}/v1/models/digits:predict"
    rows = (
        [{"b64": image} for image in base64s],
        [{"image_bytes": {"b64": image}} for image in base64s],
        pixels.tolist(),
        [{"images": image.tolist()} for image in pixels],
    )
    for instances in rows:
        answer = requests.post(url, data=json.dumps({"instances": instances}), timeout=30).json()
        assert np.argmax(answer["predictions"], axis=1).tolist() == [3, 4, 0]


def test_tensorflow_serving_takes_columns(digits_service, base64s, pixels):
    url = f"{digits_service}/v1/models/digits/versions/1:predict"
    for inputs in ({"images": pixels.tolist()}, pixels.tolist(), {"image_bytes": [{"b64": i} for i in base64s]}):
        answer = requests.post(url, json={"inputs": inputs}, timeout=30).json()
        assert np.argmax(answer["outputs"], axis=1).tolist() == [3, 4, 0]


def test_tensorflow_servings_classify_works_on_every_model(digits_service, base64s):
    examples = json.dumps({"examples": [{"image": {"b64": image}} for image in base64s]})
    results = curl("-d", examples, f"{digits_service}/v1/models/digits/labels/live:classify?top_k=3")["results"]
    assert [pairs[0][0] for pairs in results] == ["3", "4", "0"]
    assert all(len(pairs) == 3 and pairs[0][1] > pairs[1][1] for pairs in results)


def test_tensorflow_serving_tells_status_and_metadata(digits_service):
    status = curl(f"{digits_service}/v1/models/digits/versions/1")["model_version_status"]
    assert status == [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    assert curl(f"{digits_service}/v1/models") == {"models": ["digits"]}
    metadata = curl(f"{digits_service}/v1/models/digits/metadata")
    assert metadata["model_spec"] == {"name": "digits", "signature_name": "", "version": "1"}
    images = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["images"]
    assert images["dtype"] == "DT_UINT8"
    assert [dimension["size"] for dimension in images["tensor_shape"]["dim"]] == ["-1", "32", "32", "1"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/v1/models/digits:predict", None, 400, "Malformed request: GET /v1/models/digits:predict"),
        ("POST", "/v1/models/digits", "{}", 400, "Malformed request: POST /v1/models/digits"),
        ("GET", "/v1/nothing", None, 400, "Malformed request: GET /v1/nothing"),
        ("POST", "/v1/models/cats:predict", "{}", 404, "Servable not found for request: Latest(cats)"),
        (
            "POST",
            "/v1/models/digits/versions/9:predict",
            "{}",
            404,
            "not found for request: Specific(digits, 9)",
        ),
        ("GET", "/v1/models/cats", None, 404, "Could not find any versions of model cats"),
        ("GET", "/v1/models/digits/versions/9", None, 404, "Could not find version 9 of model digits"),
        ("POST", "/v1/models/digits/labels/best:predict", "{}", 400, "Unrecognized servable version label: best"),
        ("POST", "/v1/models/digits:predict", "", 400, "JSON Parse error: The document is empty"),
        ("POST", "/v1/models/digits:predict", "{}", 400, "Missing 'inputs' or 'instances' key"),
        (
            "POST",
            "/v1/models/digits:predict",
            '{"signature_name": 1}',
            400,
            "Expected `str`, got `int` - at `$.signature_name`",
        ),
        (
            "POST",
            "/v1/models/digits:predict",
            '{"signature_name": "x", "instances": [1]}',
            400,
            'Serving signature name: "x" not found in signature def',
        ),
        ("POST", "/v1/models/digits:predict", '{"instances": [[0.5]]}', 400, "is not of expected type: uint8"),
        ("POST", "/v1/models/digits:predict", '{"instances": [[1, [2]]]}', 400, "is ragged"),
        ("POST", "/v1/models/digits:predict", '{"instances": [{"b64": "?"}]}', 400, "instances[0] is not base64"),
        ("POST", "/v1/models/digits:predict", '{"instances": []}', 400, "a list of one image or more"),
        ("POST", "/v1/models/digits:predict", '{"instances": [[[[1]]]]}', 400, "takes one or more images of 32x32x1"),
        ("POST", "/v1/models/digits:classify", '{"examples": [{"image": {}}]}', 400, "An image is"),
        ("POST", "/v1/models/digits:regress", '{"examples": []}', 400, "Malformed request"),
    ],
)
def test_tensorflow_servings_errors_have_its_words_and_codes(digits_service, method, path, body, status, message):
    response = requests.request(method, digits_service + path, data=body, timeout=30)
    assert response.status_code == status
    assert response.json().keys() == {"error"}
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[]", "Expected `object`, got `array`"),
        ("{}", "Object missing required field `inputs`"),
        ({"shape": [1], "datatype": "BYTES", "data": [1]}, "other elements came"),
        ({"shape": [2], "datatype": "BYTES", "data": ["aGk="]}, "1 elements came"),
        ({"shape": [1], "datatype": "BYTES", "data": ["?"]}, "data[0] is not base64"),
        ({"shape": [1, 1], "datatype": "FP32", "data": [0.5]}, "The input is FP32"),
        ({"shape": [1, 1], "datatype": "UINT8", "data": [256]}, "whole numbers from 0 to 255"),
        ({"shape": [-1], "datatype": "BYTES", "data": []}, "Expected `int` >= 0 - at `$.inputs[0].shape[0]`"),
        ({"shape": [0], "datatype": "BYTES", "data": []}, "There is no image in the request"),
        (
            {"shape": [2**31 - 1] * 80_000, "datatype": "UINT8", "data": []},
            "Expected `array` of length <= 4 - at `$.inputs[0].shape`",
        ),
        ({"shape": [0, 2**31 - 1, 2**31 - 1, 3], "datatype": "UINT8", "data": []}, "There is no image in the request"),
        ({"shape": [2**31 - 1] * 4, "datatype": "BYTES", "parameters": {"binary_data_size": 0}}, "0 bytes came"),
        (
            {"shape": [1001], "datatype": "UINT8", "data": ["x" * 1_000_000, *["a"] * 1000]},
            "whole numbers from 0 to 255",
        ),
        ({"shape": [1], "datatype": "UINT8", "data": [10**400]}, "whole numbers from 0 to 255"),
        ({"shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}, "0 bytes follow the JSON"),
        ({"shape": [1], "datatype": "BYTES", "data": "x"}, "Expected `array`, got `str` - at `$.inputs[0].data`"),
    ],
)
def test_the_open_inference_protocols_errors_say_what_is_wrong(digits_service, body, message):
    if isinstance(body, dict):
        body = json.dumps({"inputs": [{"name": "images", **body}]})
    response = requests.post(f"{digits_service}/v2/models/digits/infer", data=body, timeout=30)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_a_binary_tensor_that_is_cut_off_is_refused(digits_service):
    head = json.dumps(
        {"inputs": [{"name": "images", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    body = head + b"\xff\xff\xff\xffhi"
    response = requests.post(f"{digits_service}/v2/models/digits/infer", data=body, headers=headers, timeout=30)
    assert response.status_code == 400
    assert "cut off" in response.json()["error"]
    for length in ("99999", "9" * 5000, "-1", "x"):
        headers = {"Inference-Header-Content-Length": length}
        response = requests.post(f"{digits_service}/v2/models/digits/infer", data=body, headers=headers, timeout=30)
        assert "the body has" in response.json()["error"]


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_empty_parameters_and_outputs_are_none_as_php_writes_them(digits_service, encoded, empty):
    image = base64.b64encode(encoded[0]).decode()
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [image], "parameters": empty}
    body = {"inputs": [tensor], "parameters": empty, "outputs": empty}
    response = requests.post(f"{digits_service}/v2/models/digits/infer", data=json.dumps(body), timeout=30)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("output", [{}, {"name": "probabilities", "parameters": {"binary_data": None}}])
def test_an_output_without_a_name_or_with_a_flag_that_is_none_is_refused(digits_service, encoded, output):
    image = base64.b64encode(encoded[0]).decode()
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [image]}
    body = {"inputs": [tensor], "outputs": [output]}
    response = requests.post(f"{digits_service}/v2/models/digits/infer", data=json.dumps(body), timeout=30)
    assert response.status_code == 400


def test_a_timeout_that_is_none_is_refused(digits_service):
    for timeout in (10**400, -1, 0.5, True, "1"):
        body = {"parameters": {"timeout": timeout}, "inputs": [{"name": "images", "shape": [1], "datatype": "BYTES"}]}
        response = requests.post(f"{digits_service}/v2/models/digits/infer", data=json.dumps(body), timeout=30)
        assert response.status_code == 400
        assert "`$.parameters.timeout`" in response.json()["error"]


def test_curl_sends_a_file_to_the_open_inference_protocol(digits_service, encoded, tmp_path):
    (tmp_path / "three.png").write_bytes(encoded[0])
    raw = ["-H", "Inference-Header-Content-Length: 0", "--data-binary", f"@{tmp_path / 'three.png'}"]
    done = subprocess.run(
        ["curl", "-s", *raw, f"{digits_service}/v2/models/digits/infer"], capture_output=True, check=True
    )
    assert np.frombuffer(done.stdout[-40:], "<f4").argmax() == 3


def test_curl_asks_as_torchserve_is_asked(digits_service, encoded, tmp_path):
    (tmp_path / "three.png").write_bytes(encoded[0])
    url = f"{digits_service}/predictions/digits"
    for how in (["-F", f"data=@{tmp_path / 'three.png'}"], ["-T", str(tmp_path / "three.png")]):
        answer = curl(*how, url)
        assert max(answer, key=answer.get) == "3"
        assert len(answer) == 5
    assert curl(f"{digits_service}/ping") == {"status": "Healthy"}
    error = curl("-F", f"data=@{tmp_path / 'three.png'}", f"{digits_service}/predictions/cats")
    assert (error["code"], error["type"]) == (404, "ModelNotFoundException")
