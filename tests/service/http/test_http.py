import base64
import gzip
import io
import json
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from PIL import Image

from service.protocols import admin, explain, feedback, lineage, open_inference, striate, tensorflow_serving, torchserve
from tests.harness import descendants, golden_image, memory_of, running_service, wait_until
from tests.images import encode, noise


@pytest.fixture(scope="module")
def three(digits_exports):
    return golden_image(digits_exports, "3")


@pytest.fixture(scope="module")
def four(digits_exports):
    return golden_image(digits_exports, "4")


def post(service, path="/classify", **request):
    return requests.post(service + path, timeout=30, **request)


def error_of(response):
    body = response.json()["error"]
    assert body.keys() == {"code", "message", "request_id"}
    assert response.headers["X-Request-Id"] == body["request_id"]
    return body


def test_a_raw_body_is_classified(digits_service, three):
    answer = post(digits_service, data=three).json()
    assert answer["model"] == "digits"
    assert answer["version"] == 1
    (prediction,) = answer["predictions"]
    assert prediction["label"] == "3"
    assert len(prediction["top"]) == 5
    assert prediction["top"][0] == {"label": "3", "index": 3, "probability": prediction["probability"]}
    probabilities = [row["probability"] for row in prediction["top"]]
    assert probabilities == sorted(probabilities, reverse=True)


def test_curl_with_its_default_content_type_is_classified(digits_service, three):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert post(digits_service, data=three, headers=headers).json()["predictions"][0]["label"] == "3"


def test_files_of_a_form_are_answered_in_order_and_by_name(digits_service, three, four):
    files = [("a", ("three.png", three)), ("a", ("four.png", four)), ("b", ("again.png", three))]
    predictions = post(digits_service, "/models/digits/classify", files=files).json()["predictions"]
    assert [(p["file"], p["label"]) for p in predictions] == [("three.png", "3"), ("four.png", "4"), ("again.png", "3")]


def test_base64_in_json_is_classified(digits_service, three, four):
    images = [base64.b64encode(data).decode() for data in (three, four)]
    predictions = post(digits_service, "/models/digits/versions/1/classify", json={"images": images}).json()[
        "predictions"
    ]
    assert [p["label"] for p in predictions] == ["3", "4"]


def spellings(data: bytes) -> dict[str, str]:
    """Base64 as libraries and people write it."""
    standard, url_safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    return {
        "in lines": base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "without padding": standard.rstrip("="),
        "of the alphabet for URLs": url_safe,
        "as that is usual": url_safe.rstrip("="),
        "as a data: URL": f"data:image/png;base64,{standard}",
        "as one with parameters, in lines": f"Data:image/png;name=3.png;base64,\n{base64.encodebytes(data).decode()}",
    }


TENSOR = {"name": "images", "datatype": "BYTES", "shape": [1]}


def test_base64_may_be_written_in_every_usual_way_in_every_protocol(digits_service):
    image = encode(noise(8, 8, 3))
    image += bytes((1 - len(image)) % 3)  # so that there is padding
    assert len(set(spellings(image).values())) == 6
    for how, text in spellings(image).items():
        bodies = {
            "/classify": {"images": [text]},
            "/v1/models/digits:predict": {"instances": [{"b64": text}]},
            "/v2/models/digits/infer": {"inputs": [{**TENSOR, "data": [text]}]},
            "/predictions/digits": {"images": [text]},
        }
        for path, body in bodies.items():
            response = post(digits_service, path, json=body)
            assert response.status_code == 200, (how, path, response.text)


@pytest.mark.parametrize(
    "text", ["?", "A", "QUJDR", "QU=JD", "QUJD==QUJD", "é", "data:image/png,QUJD", "QUJDdata:;base64,"]
)
def test_what_is_not_base64_is_refused_with_its_position(digits_service, three, text):
    response = post(digits_service, json={"images": [base64.b64encode(three).decode(), text]})
    assert response.status_code == 400
    assert error_of(response)["message"].startswith("images[1] is not base64. Send the base64 of an encoded image")


def sent_by_curl(data: bytes) -> dict[str, Any]:
    """What `curl -d @FILE` makes of a file."""
    stripped = data.translate(None, delete=b"\r\n\0")
    return {"data": stripped, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}


@pytest.mark.parametrize("path", ["/classify", "/predictions/digits"])
def test_who_sends_an_image_with_curls_d_is_told_of_data_binary(digits_service, three, path):
    response = post(digits_service, path, **sent_by_curl(three))
    assert response.status_code == 400
    assert "use --data-binary @FILE: -d @FILE removes line breaks" in response.text
    whole = {"data": three, "headers": sent_by_curl(b"")["headers"]}  # as curl sends --data-binary
    assert post(digits_service, path, **whole).status_code == 200
    damaged = {**whole, "data": three[:-20]}
    assert "curl" not in post(digits_service, path, **damaged).text


@pytest.mark.parametrize(("asked", "given"), [("1", 1), ("3", 3), ("10", 10), ("99999", 10)])
def test_top_k_says_how_many_classes_are_named(digits_service, three, asked, given):
    assert len(post(digits_service, f"/classify?top_k={asked}", data=three).json()["predictions"][0]["top"]) == given


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "", "²", "9" * 50])
def test_a_top_k_that_is_no_count_is_refused(digits_service, three, value):
    response = post(digits_service, "/classify", params={"top_k": value}, data=three)
    assert response.status_code == 400
    assert "top_k" in error_of(response)["message"]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/classify?topk=3", "this route knows top_k"),
        ("/models/digits/versions/1/classify?top_k=3&labels=1", "this route knows top_k"),
        ("/models/digits/feedback?lable=3", "this route knows label, settle"),
        ("/models/digits/promote?version=1", "this route knows none"),
        ("/v1/models/digits:predict?signature_name=x", "this route knows none"),
        ("/v2/models/digits/infer?top_k=3", "this route knows none"),
        ("/predictions/digits?topk=3", "this route knows top_k"),
    ],
)
def test_a_query_parameter_that_is_not_known_is_refused_with_those_that_are(digits_service, three, path, known):
    response = post(digits_service, path, data=three)
    assert response.status_code == 400
    assert known in response.text
    assert response.json().keys() in ({"error"}, {"code", "type", "message"})  # in each protocol's own words


@pytest.mark.parametrize(
    "path", ["/", "/label", "/healthz", "/readyz", "/ping", "/v2/health/live", "/metrics", "/openapi.json"]
)
def test_probes_pages_and_metrics_take_any_query_parameter(digits_service, path):
    assert requests.get(f"{digits_service}{path}?verbose&_=123", timeout=30).status_code == 200


def damaged_png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((50, 50), 60).save(file, "PNG")
    return file.getvalue()[:-200]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"hello", 400, "image_invalid"),
        (damaged_png(), 400, "image_invalid"),
        (b"<html><body>", 400, "image_invalid"),
        (b"%PDF-1.7", 415, "image_format_unsupported"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "image_format_unsupported"),
        (b"BM" + (64250**2).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
         + (64250).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24), 413, "image_too_many_pixels"),
    ],
)  # fmt: skip
def test_what_is_no_readable_image_is_refused_with_the_reason(digits_service, body, status, code):
    response = post(digits_service, data=body)
    assert (response.status_code, error_of(response)["code"]) == (status, code)


def test_the_one_bad_image_of_several_is_named_by_its_position(digits_service, three):
    images = [base64.b64encode(data).decode() for data in (three, b"no image", three)]
    response = post(digits_service, json={"images": images})
    assert response.status_code == 400
    assert error_of(response)["message"].startswith("images[1]: ")
    response = post(digits_service, files=[("f", ("good.png", three)), ("f", ("bad.png", b"no image"))])
    assert error_of(response)["message"].startswith("file 1 (bad.png): ")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"images": [', 400),
        ('{"images": ["%%%"]}', 400),
        ('{"images": ["QUJD\\n"]}', 400),
        ('{"images": ["data:image/png;base64,QUJD"]}', 400),
        ('{"images": []}', 400),
        ('{"images": ["QUJD"], "images": ["QUJD"]}', 400),
        ('{"images": [NaN]}', 400),
        ("[" * 100_000, 400),
        ('{"images":' + "[" * 100_000, 400),
        ('\ufeff{"images": ["QUJD"]}', 400),
        ('{"images": [' + "9" * 10_000 + "]}", 400),
        ('{"images": "QUJD"}', 422),
        ('{"images": [1]}', 422),
        ('{"image": "QUJD"}', 422),
        ('{"images": ["QUJD"], "more": 1}', 422),
        ("[]", 422),
        ("null", 422),
        ('"\\ud800"', 422),
        ('{"images": ["QUJD"], "\\uD800": 1}', 422),
        ('{"images": ["\\ud83d\\ude00"]}', 400),  # a character, and no base64
    ],
)
def test_json_that_is_malformed_or_means_something_else_is_refused(digits_service, body, status):
    response = post(digits_service, data=body.encode(), headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    error_of(response)


def test_json_of_very_many_values_is_refused_before_it_is_parsed(digits_service):
    body = b'{"images":["' + b'","' * 3_000_000 + b'"]}'
    began = time.monotonic()
    response = post(digits_service, data=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert "more than 10,000 values" in error_of(response)["message"]
    assert time.monotonic() - began < 5


def test_more_images_than_are_taken_at_once_are_refused(digits_service):
    assert post(digits_service, json={"images": ["QUJD"] * 65}).status_code == 413
    files = [("f", (f"{i}.png", b"x")) for i in range(80)]
    assert post(digits_service, files=files).status_code == 413


def test_a_body_over_the_limit_is_refused_whether_its_length_is_said_or_not(digits_service):
    declared = {"Content-Length": str(10**12)}
    response = requests.post(digits_service + "/classify", headers=declared, data=b"", timeout=30)
    assert response.status_code == 413
    chunks = (bytes(100_000) for _ in range(170))
    assert requests.post(digits_service + "/classify", data=chunks, timeout=30).status_code == 413


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip"])
def test_a_body_in_another_encoding_than_gzip_is_refused(digits_service, three, encoding):
    response = post(digits_service, data=three, headers={"Content-Encoding": encoding})
    assert response.status_code == 415
    assert error_of(response)["code"] == "content_encoding_unsupported"


def test_a_gzip_body_is_unpacked_whatever_it_holds(digits_service, three):
    packed = {"Content-Encoding": "gzip"}
    json_body = json.dumps({"images": [base64.b64encode(three).decode()]}).encode()
    form, content_type = requests.models.RequestEncodingMixin._encode_files({"a": ("three.png", three)}, {})
    for body, mimetype in ((three, "image/png"), (json_body, "application/json"), (form, content_type)):
        answer = post(digits_service, data=gzip.compress(body), headers={**packed, "Content-Type": mimetype}).json()
        assert answer["predictions"][0]["label"] == "3"


def test_a_gzip_body_that_is_damaged_or_ends_early_is_the_clients_fault(digits_service, three):
    packed = gzip.compress(three)
    for body in (three, packed[:-20], b"", packed[:40] + b"\0" * 40):
        response = post(digits_service, data=body, headers={"Content-Encoding": "gzip"})
        assert response.status_code == 400
        assert "gzip" in error_of(response)["message"]


def test_a_gzip_body_may_have_several_members_and_zeros_after_them(digits_service, three):
    members = gzip.compress(three[:100]) + gzip.compress(b"") + gzip.compress(three[100:])
    for body in (members, members + bytes(100_000)):
        answer = post(digits_service, data=body, headers={"Content-Encoding": "gzip"})
        assert answer.json()["predictions"][0]["label"] == "3"
    for body in (members[:-1], members + b"more", members + bytes(10) + gzip.compress(b"")[:5]):
        response = post(digits_service, data=body, headers={"Content-Encoding": "gzip"})
        assert response.status_code == 400
        assert "gzip" in error_of(response)["message"]


def test_chunks_that_are_none_are_the_clients_fault_and_the_connection_ends(digits_service):
    host, port = digits_service.removeprefix("http://").split(":")
    for chunk in (b"zz\r\nhello\r\n", b"5\r\nhelloXX0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
            answer = b"".join(iter(lambda client=client: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1") == 1


def test_a_gzip_body_that_never_comes_to_anything_is_cut_at_the_limit(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path, max_body_bytes=100_000) as service:
        packed = gzip.compress(b"")
        nothing = packed[:10] + b"\x00\x00\x00\xff\xff" * 100_000  # stored blocks of no bytes
        response = post(service.url, data=nothing, headers={"Content-Encoding": "gzip"})
        assert response.status_code == 413


def test_a_gzip_bomb_is_cut_at_the_limit_and_costs_no_memory(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path, workers=1, max_body_bytes=1_000_000) as service:
        (worker,) = service.pids("service.worker")[1:]
        before = memory_of(worker)
        bomb = gzip.compress(bytes(500_000_000))  # half a megabyte
        response = post(service.url, data=bomb, headers={"Content-Encoding": "gzip"})
        assert response.status_code == 413
        assert memory_of(worker) - before < 30_000_000


def test_answers_are_compressed_for_who_asks_for_it(digits_service):
    plain = requests.get(digits_service + "/openapi.json", headers={"Accept-Encoding": "identity"}, timeout=30)
    packed = requests.get(digits_service + "/openapi.json", headers={"Accept-Encoding": "gzip"}, timeout=30)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert packed.json() == plain.json()
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 4


@pytest.mark.parametrize(
    "path",
    [
        "/models/cats/classify",
        "/models/..%2f..%2fetc/classify",
        "/models/%00/classify",
        "/models/é/classify",
        "/models/" + "a" * 4000 + "/classify",
        "/models/digits/versions/2/classify",
        "/models/digits/versions/99999999999999999999999/classify",
        "/models/digits/versions/-1/classify",
        "/models/digits/versions/x/classify",
        "/models/digits/versions/١/classify",
        "/models/digits/versions/１/classify",
        "/nowhere",
        "/classify/",
    ],
)
def test_models_versions_and_paths_that_are_not_there_are_not_found(digits_service, three, path):
    response = post(digits_service, path, data=three)
    assert response.status_code == 404
    error_of(response)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_a_wrong_method_says_which_are_right(digits_service, method):
    response = requests.request(method, digits_service + "/classify", timeout=30)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]


def test_a_request_id_is_given_back_unless_it_could_do_harm(digits_service):
    for given, kept in (("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("é".encode(), False)):
        response = requests.get(digits_service + "/healthz", headers={"X-Request-Id": given}, timeout=30)
        assert (response.headers["X-Request-Id"] == given) == kept


def test_models_are_described(digits_service):
    listing = requests.get(digits_service + "/models", timeout=30).json()
    assert listing["default"] == "digits"
    model = requests.get(digits_service + "/models/digits", timeout=30).json()
    assert listing["models"] == [model]
    (version,) = model["versions"]
    assert version["state"] == "available"
    assert version["live"]
    assert version["class_names"] == [*"0123456789"]
    assert version["accuracy"] > 0.98
    assert requests.get(digits_service + "/models/cats", timeout=30).status_code == 404


def test_the_openapi_document_has_every_route(digits_service):
    document = requests.get(digits_service + "/openapi.json", timeout=30).json()
    app = Flask("routes", static_folder=None)
    for module in (striate, admin, explain, feedback, lineage, tensorflow_serving, open_inference, torchserve):
        app.register_blueprint(module.bp)
    rules = {
        re.sub(r"<(?:int:)?(\w+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "tensorflow_serving.malformed"  # whatever else is under /v1
    }
    assert set(document["paths"]) == rules


def test_metrics_count_requests_and_time_every_stage(digits_service, three):
    def sample(prefix: str) -> float:
        text = requests.get(digits_service + "/metrics", timeout=30).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(prefix))

    names = (
        'striate_requests_total{route="/classify",status="200"}',
        'striate_request_seconds_count{route="/classify"}',
        *(f'striate_{stage}_count{{model="digits",version="1"}}' for stage in (
            "decode_seconds", "queue_wait_seconds", "batch_size", "inference_seconds"
        )),
    )  # fmt: skip
    before = {name: sample(name) for name in names}
    for _ in range(3):
        post(digits_service, data=three)
    deadline = time.monotonic() + 5  # each process adds what it has counted ten times a second
    while {name: sample(name) - before[name] for name in names} != dict.fromkeys(names, 3.0):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sample('striate_live_version{model="digits"}') == 1
    assert sample('striate_engine_up{model="digits",version="1"}') == 1


def test_answers_are_not_cached_and_pages_load_nothing_from_elsewhere(digits_service, three):
    response = post(digits_service, data=three)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert (
        requests.get(digits_service + "/", timeout=30)
        .headers["Content-Security-Policy"]
        .startswith("default-src 'self'")
    )


def test_errors_are_json_whatever_came(digits_service):
    response = requests.get(digits_service + "/nowhere", timeout=30)
    assert json.loads(response.text)["error"]["code"] == "not_found"


@pytest.mark.skipif("STRIATE_ODD_INPUTS" not in os.environ, reason="STRIATE_ODD_INPUTS names a folder of odd files")
def test_no_odd_file_is_our_fault_or_ends_a_process(digits_exports, tmp_path):
    files = [path for path in sorted(Path(os.environ["STRIATE_ODD_INPUTS"]).rglob("*")) if path.is_file()]
    with running_service(digits_exports, tmp_path) as service, requests.Session() as session:
        wait_until(lambda: len(service.spares()) == 1, service)
        before = set(descendants(service.process.pid)) - set(service.pids("service.decoder"))
        for path in files:
            response = session.post(service.url + "/classify", data=path.read_bytes(), timeout=30)
            assert response.status_code in (200, 400, 413, 415, 422), path
        assert set(descendants(service.process.pid)) - set(service.pids("service.decoder")) == before
    assert files
