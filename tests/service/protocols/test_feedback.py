"""Feedback over HTTP, in a real service: what is stored, who may say so, and that nothing gives a 500."""

import base64
import gzip
import hashlib
import json
import socket
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image
from urllib3.filepost import encode_multipart_formdata

from models.bundle.manifest import read_golden
from tests.harness import RunningService, golden_image, running_service, wait_until
from tests.images import encode, noise

OPEN = {"feedback_open": 1}
KEYS = {"predict": "p" * 16, "feedback": "f" * 16, "admin": "a" * 16}


@pytest.fixture(scope="module")
def service(digits_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    work = tmp_path_factory.mktemp("feedback")
    with running_service(
        digits_exports, work, workers=2, keep=1, keep_below=0.999, **OPEN, feedback=work / "told"
    ) as service:
        yield service


def told(service: RunningService) -> Path:
    return service.log_path.parent / "told" / "digits"


def digit(seed: int) -> bytes:
    """An image that no other test sends."""
    return encode(noise(8, 8, seed=seed))


def give(service: RunningService, **asked: object) -> requests.Response:
    return requests.post(f"{service.url}/models/digits/feedback", timeout=10, **asked)  # type: ignore[arg-type]


def outcome(response: requests.Response) -> str:
    assert response.status_code in (200, 201), response.text
    return str(response.json()["outcome"])


def test_an_image_comes_in_as_a_body_a_form_or_json(service: RunningService) -> None:
    ways = [
        {"data": digit(1), "params": {"label": "3"}},
        {"files": {"image": digit(2)}, "data": {"label": "3"}},
        {"json": {"image": base64.b64encode(digit(3)).decode(), "label": "3"}},
    ]
    assert [outcome(give(service, **way)) for way in ways] == ["stored"] * 3
    for seed in (1, 2, 3):
        name = f"{hashlib.sha256(digit(seed)).hexdigest()}.png"
        assert (told(service) / "labelled" / "3" / name).read_bytes() == digit(seed)


def test_a_recent_request_can_be_named_whichever_worker_answered_it(service: RunningService) -> None:
    for i in range(12):  # new connections, so that both workers are met on both sides
        asked = requests.post(f"{service.url}/classify", data=digit(100 + i), timeout=10)
        response = give(service, json={"request_id": asked.headers["X-Request-Id"], "label": "5"})
        assert outcome(response) == "stored"
        assert response.json()["image"] == hashlib.sha256(digit(100 + i)).hexdigest()


def test_of_a_request_with_several_images_the_index_says_which(service: RunningService) -> None:
    files = [("file", digit(seed)) for seed in (20, 21)]
    asked = requests.post(f"{service.url}/classify", files=files, timeout=10)
    said = {"request_id": asked.headers["X-Request-Id"], "label": "1", "index": 1}
    assert give(service, json=said).json()["image"] == hashlib.sha256(digit(21)).hexdigest()
    assert give(service, json={**said, "index": 2}).status_code == 404


def test_contradictory_labels_are_reported_and_can_be_settled(service: RunningService) -> None:
    assert outcome(give(service, data=digit(30), params={"label": "1"})) == "stored"
    assert outcome(give(service, data=digit(30), params={"label": "2"})) == "contradictory"
    digest = hashlib.sha256(digit(30)).hexdigest()
    collected = requests.get(f"{service.url}/models/digits/feedback", timeout=10).json()
    assert {"image": digest, "labels": ["1", "2"]} in collected["contradictory"]
    assert outcome(give(service, json={"digest": digest, "label": "2", "settle": True})) == "settled"
    assert requests.get(f"{service.url}/models/digits/feedback", timeout=10).json()["contradictory"] == []


def test_doubtful_images_are_kept_and_leave_when_they_are_labelled(service: RunningService) -> None:
    doubtful = digit(41)
    row = requests.post(f"{service.url}/classify", data=doubtful, timeout=10).json()["predictions"][0]
    assert row["probability"] < 0.999, "noise should leave the network in doubt"
    digest = hashlib.sha256(doubtful).hexdigest()
    listing = f"{service.url}/models/digits/kept?limit=500"
    wait_until(
        lambda: digest in [kept["image"] for kept in requests.get(listing, timeout=10).json()["images"]], service
    )
    images = requests.get(listing, timeout=10).json()["images"]
    uncertainties = [kept["uncertainty"] for kept in images if "uncertainty" in kept]
    assert uncertainties == sorted(uncertainties, reverse=True)
    shown = requests.get(f"{service.url}/models/digits/kept/{digest}", timeout=10)
    assert (shown.status_code, shown.headers["Content-Type"]) == (200, "image/png")
    assert shown.content != doubtful, "what a stranger sent is given back as it came"
    assert outcome(give(service, json={"digest": digest, "label": "8"})) == "stored"
    assert digest not in [kept["image"] for kept in requests.get(listing, timeout=10).json()["images"]]


def test_a_kept_image_can_be_thrown_away(service: RunningService) -> None:
    image = digit(42)
    requests.post(f"{service.url}/classify", data=image, timeout=10)
    url = f"{service.url}/models/digits/kept/{hashlib.sha256(image).hexdigest()}"
    wait_until(lambda: requests.get(url, timeout=10).status_code == 200, service)
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.delete(url, timeout=10).status_code == 404


def test_a_certain_answer_is_not_kept(service: RunningService, digits_exports: Path) -> None:
    golden = read_golden(digits_exports / "digits" / "1")
    sure = next(data for data, row in golden if max(row) > 0.9999)
    requests.post(f"{service.url}/classify", data=sure, timeout=10)
    after = digit(43)  # kept after it, if anything is
    requests.post(f"{service.url}/classify", data=after, timeout=10)
    url = f"{service.url}/models/digits/kept"
    wait_until(
        lambda: requests.get(f"{url}/{hashlib.sha256(after).hexdigest()}", timeout=10).status_code == 200, service
    )
    assert requests.get(f"{url}/{hashlib.sha256(sure).hexdigest()}", timeout=10).status_code == 404


def test_feedback_reads_base64_as_libraries_write_it_and_knows_what_curl_does(service: RunningService) -> None:
    url = f"data:image/png;base64,{base64.encodebytes(digit(40)).decode()}"
    assert outcome(give(service, json={"image": url, "label": "3"})) == "stored"
    stripped = digit(41).translate(None, delete=b"\r\n\0")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = give(service, data=stripped, params={"label": "3"}, headers=headers)
    assert refused.status_code == 400
    assert "use --data-binary @FILE" in refused.text


BAD: list[tuple[dict, int]] = [
    ({"data": digit(50)}, 422),
    ({"data": digit(50), "params": {"label": "cat"}}, 422),
    ({"data": digit(50), "params": {"label": "../../x"}}, 422),
    ({"data": b"no image", "params": {"label": "3"}}, 400),
    ({"params": {"label": "3"}}, 400),
    ({"json": {"label": "3"}}, 422),
    ({"json": {"label": 3, "image": "AAAA"}}, 422),
    ({"json": {"label": "3", "image": "AAAA", "request_id": "x"}}, 422),
    ({"json": {"label": "3", "image": 5}}, 422),
    ({"json": {"label": "3", "image": "?"}}, 400),
    ({"json": {"label": "\ud800", "image": base64.b64encode(digit(50)).decode()}}, 422),
    ({"json": {"label": "3", "request_id": "\ud800"}}, 422),
    ({"json": {"label": "3", "request_id": "never"}}, 404),
    ({"json": {"label": "3", "request_id": "never", "index": -1}}, 422),
    ({"json": {"label": "3", "request_id": "never", "index": 10**30}}, 404),
    ({"json": {"label": "3", "digest": "../../../etc/passwd"}}, 404),
    ({"json": {"label": "3", "digest": "0" * 64}}, 404),
    ({"json": {"label": "3", "image": "AAAA", "settle": 1}}, 422),
    ({"json": [1]}, 422),
    ({"data": "{", "headers": {"Content-Type": "application/json"}}, 400),
    ({"files": [("a", digit(1)), ("b", digit(2))], "data": {"label": "3"}}, 422),
]


@pytest.mark.parametrize(("asked", "status"), BAD)
def test_what_cannot_be_taken_is_said_to_the_client(service: RunningService, asked: dict, status: int) -> None:
    response = give(service, **asked)
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]


def test_an_unknown_model_and_an_odd_limit_are_said_to_the_client(service: RunningService) -> None:
    assert requests.post(f"{service.url}/models/nobody/feedback?label=3", data=digit(1), timeout=10).status_code == 404
    assert requests.get(f"{service.url}/models/nobody/kept", timeout=10).status_code == 404
    for limit in ("0", "-1", "501", "x", "1" * 40):
        assert requests.get(f"{service.url}/models/digits/kept?limit={limit}", timeout=10).status_code == 400


def test_pages_of_others_may_not_teach(service: RunningService) -> None:
    foreign = give(service, data=digit(60), params={"label": "3"}, headers={"Origin": "https://example.org"})
    assert foreign.status_code == 403
    own = give(service, data=digit(60), params={"label": "3"}, headers={"Origin": service.url})
    assert outcome(own) == "stored"


def test_under_another_host_name_nobody_teaches_without_a_key(service: RunningService) -> None:
    """Whose name it is can point it at this machine, and then its page is of the same origin."""
    told = {"Host": "example.org:8000", "Origin": "http://example.org:8000"}
    assert give(service, data=digit(61), params={"label": "3"}, headers=told).status_code == 403
    port = service.url.rpartition(":")[2]
    assert (
        outcome(give(service, data=digit(61), params={"label": "3"}, headers={"Host": f"localhost:{port}"})) == "stored"
    )


def test_feedback_is_closed_until_the_operator_opens_it(digits_exports: Path, tmp_path: Path) -> None:
    """Behind a proxy that passes nothing on of who asks, everybody's requests come from this machine."""
    with running_service(digits_exports, tmp_path) as service:
        for headers in ({}, {"Host": "127.0.0.1:8000"}, {"X-API-Key": "k" * 16}):
            refused = give(service, data=digit(62), params={"label": "3"}, headers=headers)
            assert refused.status_code == 403
            assert "SERVICE_FEEDBACK_OPEN is not 1" in refused.json()["error"]["message"]
        assert requests.get(f"{service.url}/models/digits/kept", timeout=10).status_code == 403
        assert requests.get(f"{service.url}/models/digits", timeout=10).json()["takes_feedback"] is False
        assert "feedback is open" not in service.log()
    assert not (tmp_path / "feedback").exists()


def test_where_feedback_is_open_that_is_said_and_classifying_may_still_need_a_key(
    digits_exports: Path, tmp_path: Path
) -> None:
    with running_service(digits_exports, tmp_path, predict_keys=KEYS["predict"], **OPEN) as service:
        assert "feedback is open (SERVICE_FEEDBACK_OPEN=1): everybody on this machine may label images" in service.log()
        assert give(service, data=digit(63), params={"label": "3"}).status_code == 401
        headers = {"X-API-Key": KEYS["predict"]}
        assert outcome(give(service, data=digit(63), params={"label": "3"}, headers=headers)) == "stored"


def test_a_body_that_was_cut_off_is_no_feedback(service: RunningService) -> None:
    pages = encode(noise(8, 8, seed=64), "TIFF", save_all=True, append_images=[Image.fromarray(noise(8, 8, seed=65))])
    form, kind = encode_multipart_formdata({"label": "3", "image": ("a.tif", pages)})
    document = json.dumps({"label": "3", "image": base64.b64encode(pages).decode()}).encode()
    before = requests.get(f"{service.url}/models/digits/feedback", timeout=10).json()["labelled"]
    for body, headers in (
        (pages, {}),
        (form, {"Content-Type": kind}),
        (document, {"Content-Type": "application/json"}),
        (gzip.compress(pages), {"Content-Encoding": "gzip"}),
    ):
        for path in ("/models/digits/feedback?label=3", "/classify", "/predictions/digits"):
            assert cut_off(service, path, body, headers) == 400, (path, headers)
        assert cut_off(service, "/classify", gzip.compress(body) + bytes(20), {"Content-Encoding": "gzip"}) == 400
    assert requests.get(f"{service.url}/models/digits/feedback", timeout=10).json()["labelled"] == before


def cut_off(service: RunningService, path: str, body: bytes, headers: dict[str, str]) -> int:
    """The status that is answered to all of a body but its last bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[:-20])
        connection.shutdown(socket.SHUT_WR)
        return int(connection.recv(4096).split()[1])


def test_feedback_has_a_key_of_its_own(digits_exports: Path, tmp_path: Path) -> None:
    settings = {f"{scope}_keys": key for scope, key in KEYS.items()}
    with running_service(digits_exports, tmp_path, ready=False, **settings) as service:
        wait_until(lambda: requests.get(f"{service.url}/readyz", timeout=10).status_code == 200, service)

        def status(key: str | None) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return give(service, data=digit(70), params={"label": "3"}, headers=headers).status_code

        assert [status(key) for key in (None, "x" * 16, KEYS["predict"])] == [401, 401, 403]
        assert [status(KEYS["feedback"]), status(KEYS["admin"])] == [201, 200]
        headers = {"X-API-Key": KEYS["feedback"]}
        assert requests.post(f"{service.url}/classify", data=digit(70), headers=headers, timeout=10).status_code == 200
        promote = f"{service.url}/models/digits/promote"
        assert requests.post(promote, json={"version": 1}, headers=headers, timeout=10).status_code == 403


def test_a_full_budget_and_a_folder_that_cannot_be_written_are_said(digits_exports: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with running_service(digits_exports, tmp_path, **OPEN, feedback=tmp_path / "small", feedback_bytes=100) as service:
        full = give(service, data=digit(80), params={"label": "3"})
        assert (full.status_code, full.json()["error"]["code"]) == (507, "storage_full")
    with running_service(digits_exports, tmp_path, **OPEN, feedback=tmp_path / "file") as service:
        assert give(service, data=digit(80), params={"label": "3"}).status_code == 409
    with running_service(digits_exports, tmp_path, feedback="") as service:
        assert give(service, data=digit(80), params={"label": "3"}).status_code == 403
        assert requests.get(f"{service.url}/models/digits", timeout=10).json()["takes_feedback"] is False


def test_new_labels_are_taken_where_the_operator_wants_them(digits_exports: Path, tmp_path: Path) -> None:
    with running_service(digits_exports, tmp_path, **OPEN, feedback_new_labels=1) as service:
        assert outcome(give(service, data=digit(90), params={"label": "größte Katze"})) == "stored"
        assert give(service, data=digit(90), params={"label": "a/b"}).status_code == 422
        decomposed = give(service, data=digit(90), params={"label": unicodedata.normalize("NFD", "größte Katze")})
        assert outcome(decomposed) == "duplicate"
        assert decomposed.json()["label"] == "größte Katze"
        assert outcome(give(service, data=digit(91), params={"label": "New\u00a0York"})) == "stored"


def test_each_version_says_where_it_comes_from(service: RunningService) -> None:
    url = f"{service.url}/models/digits/versions"
    (about,) = requests.get(url, timeout=10).json()["versions"]
    assert about["parts"] == ["live"]
    assert about["data"]["train"] == sum(sides["train"] for sides in about["data"]["images"].values())
    assert "html" in requests.get(url, headers={"Accept": "text/html"}, timeout=10).headers["Content-Type"]
    report = requests.get(f"{url}/1/report", timeout=10)
    assert report.status_code == 200
    assert "sandbox" in report.headers["Content-Security-Policy"]
    assert requests.get(f"{url}/7/report", timeout=10).status_code == 404
    assert requests.get(f"{service.url}/models/nobody/versions", timeout=10).status_code == 404


def test_what_is_asked_is_compared_with_what_the_model_was_judged_by(
    digits_exports: Path, digits_training: object, tmp_path: Path
) -> None:
    with running_service(digits_exports, tmp_path, workers=1) as service:
        usual = golden_image(digits_exports)
        near = requests.post(f"{service.url}/classify", data=usual, timeout=10).json()["predictions"][0]
        far = requests.post(f"{service.url}/classify", data=digit(5), timeout=10).json()["predictions"][0]
        assert near["out_of_distribution"] < 0.95 < far["out_of_distribution"]
        assert (near["unlike_training_images"], far["unlike_training_images"]) == (False, True)
        white = encode(noise(8, 8, seed=1) // 8 + 200)
        for _ in range(3):
            requests.post(f"{service.url}/classify", files=[("file", white)] * 60, timeout=10)

        def drift() -> dict:
            requests.post(f"{service.url}/classify", data=white, timeout=10)
            return requests.get(f"{service.url}/models/digits", timeout=10).json()["drift"] or {}

        wait_until(lambda: bool(drift()), service)
        psi = drift()["psi"]
        assert psi["brightness"] > 0.25
        assert set(psi) == {"classes", "confidence", "brightness", "contrast", "saturation", "sharpness"}
        assert 'striate_drift_psi{model="digits"' in requests.get(f"{service.url}/metrics", timeout=10).text
