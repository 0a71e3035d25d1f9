"""Large bodies get the answers that small ones get, and are parsed in another process."""

import base64
import json

import pytest
import requests

from tests.harness import command_line, golden_image, running_service

INFER, PREDICT = "/v2/models/digits/infer", "/v1/models/digits:predict"


@pytest.fixture(scope="module")
def service(digits_exports, tmp_path_factory):
    with running_service(digits_exports, tmp_path_factory.mktemp("bodies"), workers=1, recent_bytes=0) as service:
        yield service


def post(service, path, **request):
    return requests.post(service.url + path, timeout=60, **request)


def tensor(numbers: int) -> bytes:
    data = b"0," * (numbers - 1) + b"0"
    return b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,%d],"data":[%b]}]}' % (numbers, data)


def decoders_of_bodies(service) -> list[int]:
    return [pid for pid in service.pids("service.decoder") if '"sort": "body"' in command_line(pid)]


def test_a_body_of_millions_of_numbers_is_parsed_by_a_process_of_its_own(service):
    assert decoders_of_bodies(service) == []
    small, large = post(service, INFER, data=tensor(100)), post(service, INFER, data=tensor(3_000_000))
    assert small.status_code == large.status_code == 400
    assert "(1, 100)" in small.json()["error"]
    assert large.json()["error"] == small.json()["error"].replace("(1, 100)", "(1, 3000000)")
    assert len(decoders_of_bodies(service)) == 1


def test_large_bodies_of_every_protocol_are_answered_as_small_ones_are(service, digits_exports):
    image = golden_image(digits_exports)
    large = image + bytes(100_000)  # behind the end of a PNG, where no decoder looks
    for padded in (image, large):
        text = base64.b64encode(padded).decode()
        predictions = post(service, "/classify", json={"images": [text] * 3}).json()["predictions"]
        assert [prediction["label"] for prediction in predictions] == ["3"] * 3
        files = [("a", (f"{i}.png", padded)) for i in range(3)]
        predictions = post(service, "/classify", files=files).json()["predictions"]
        assert [(p["file"], p["label"]) for p in predictions] == [("0.png", "3"), ("1.png", "3"), ("2.png", "3")]
        assert len(post(service, PREDICT, json={"instances": [{"b64": text}]}).json()["predictions"]) == 1
        inputs = [{"name": "images", "datatype": "BYTES", "shape": [1], "data": [text]}]
        assert post(service, INFER, json={"inputs": inputs, "id": "7"}).json()["id"] == "7"


def test_a_body_that_takes_longer_than_its_request_may_is_refused(service):
    response = post(service, INFER, data=tensor(7_000_000), headers={"X-Request-Timeout-Ms": "50"})
    assert response.status_code in (400, 504)
    assert "could not be parsed within" in response.text or "deadline passed" in response.text
    assert post(service, INFER, data=tensor(100)).status_code == 400


def test_a_binary_tensor_of_very_many_elements_is_refused_without_reading_them(service):
    count = 3_000_000
    head = b'{"inputs":[{"name":"images","datatype":"BYTES","shape":[%d],"parameters":{"binary_data_size":%d}}]}'
    head %= count, 4 * count
    response = post(
        service, INFER, data=head + bytes(4 * count), headers={"Inference-Header-Content-Length": str(len(head))}
    )
    assert response.status_code == 413
    assert "3000000 images came; at most 64" in response.text


def test_a_document_without_images_may_not_be_large(service):
    document = json.dumps({"ready": True}).encode()
    assert post(service, "/v2/repository/index", data=document).status_code == 200
    assert post(service, "/v2/repository/index", data=document + b" " * 70_000).status_code == 413


def test_the_log_says_once_which_limits_hold_for_decoders(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path, workers=2) as service:
        for _ in range(20):
            post(service, "/classify", data=golden_image(digits_exports) + bytes(5000))
        assert service.log().count("decoders have: no new privileges (no_new_privs)") == 1
