"""The short way of a request and Flask's answer it with the same bytes; what is of another form does not take it."""

import base64
import itertools
import json
import re
import socket
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from service.config import Config
from service.worker.lane import Lane
from tests.harness import golden_image, running_service
from tests.images import encode, noise

BY_FLASK = "TE: trailers"  # means nothing here, and is none of the lane's form
KEY = "a key that may classify"


def request_of(target: str, body: bytes, *lines: str, content_type: str = "image/png") -> bytes:
    head = [f"POST {target} HTTP/1.1", "Host: x", "X-Request-Id: the-same", *lines]
    head += [f"Content-Type: {content_type}"] if content_type else []
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


def takes(request: bytes) -> bool:
    lane = Lane(SimpleNamespace(config=Config()))  # type: ignore[arg-type]
    return lane.find(request, lambda _: b"") is not None


def ask(url: str, *requests: bytes) -> list[bytes]:
    """The answers on one connection, without their dates."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as client:
        answers = []
        for request in requests:
            client.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += client.recv(65536)
            head, _, body = answer.partition(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            while len(body) < length:
                body += client.recv(65536)
            answers.append(re.sub(rb"Date: [^\r]+", b"Date: now", head) + b"\r\n\r\n" + body)
        return answers


@pytest.fixture(scope="module")
def service(digits_exports, tmp_path_factory):
    settings = {"predict_keys": KEY, "cors_origins": "https://example.org", "workers": 1}
    with running_service(digits_exports, tmp_path_factory.mktemp("lane"), **settings) as service:
        yield service


TARGETS = (
    *("/classify", "/models/digits/classify", "/models/digits/versions/1/classify", "/models/other/classify"),
    *("/models/digits/versions/7/classify", "/classify?top_k=1", "/classify?top_k=0", "/classify?top_k=many"),
    "/models/digits/classify?top_k=999",
)
HEADERS: tuple[tuple[str, ...], ...] = (
    (f"X-API-Key: {KEY}",),
    (f"Authorization: Bearer {KEY}", "Accept-Encoding: gzip", "X-Request-Timeout-Ms: 9000"),
    (f"X-API-Key: {KEY}", "X-Request-Timeout-Ms: soon", "Connection: keep-alive"),
    ("X-API-Key: another key of nobody",),
    (),
)


@pytest.mark.parametrize("target", TARGETS)
def test_both_ways_answer_with_the_same_bytes(service, digits_exports, target):
    golden = golden_image(digits_exports)
    several = json.dumps({"images": [base64.b64encode(golden).decode()] * 3}).encode()
    bodies = (golden, encode(noise(90, 70, 3)), b"", b"no image", golden[:-20], several, b'{"images": 1}')
    types = ("image/png", "", "application/x-www-form-urlencoded", "text/plain; charset=utf-8")
    cases = [(body, headers, "image/png") for body, headers in itertools.product(bodies, HEADERS)]
    cases += [(body, HEADERS[0], kind) for body, kind in itertools.product(bodies, types)]
    for body, headers, content_type in cases:
        hot = request_of(target, body, *headers, content_type=content_type)
        slow = request_of(target, body, *headers, BY_FLASK, content_type=content_type)
        assert takes(hot)
        assert not takes(slow)
        short, long = ask(service.url, hot, slow)
        assert short == long


@pytest.mark.parametrize(
    "lines",
    [
        *(["Transfer-Encoding: chunked"], ["Content-Length: 1"], ["Host: y"], ["Content-Encoding: gzip"]),
        *(["Expect: 100-continue"], ["Origin: https://example.org"], ["Connection: close"], ["Upgrade: h2c"]),
        *(["X_Request_Id: 1"], ["A:b"], ["A: \x01"], ["A: \xe9"], [" folded"], ["A : b"], ["A: " + "b" * 4000]),
        *(["Content-Type: application/json"], [f"A{i}: b" for i in range(60)]),
    ],
)
def test_whatever_is_of_another_form_or_could_be_read_in_two_ways_goes_through_flask(lines):
    assert takes(request_of("/classify", b"x", content_type=""))
    assert not takes(request_of("/classify", b"x", *lines, content_type=""))


@pytest.mark.parametrize(
    "head",
    [
        *("GET /classify HTTP/1.1", "POST /classify HTTP/1.0", "POST /models HTTP/1.1", "POST  /classify HTTP/1.1"),
        *("POST /classify?topk=1 HTTP/1.1", "POST /models/%64igits/classify HTTP/1.1", "POST /v1/x:predict HTTP/1.1"),
    ],
)
def test_other_methods_paths_and_queries_go_through_flask(head):
    assert not takes(f"{head}\r\nHost: x\r\nContent-Length: 1\r\n\r\nx".encode())


def test_requests_that_come_together_are_answered_in_order_whichever_way_each_takes(service, digits_exports):
    golden = golden_image(digits_exports)
    key = f"X-API-Key: {KEY}"
    requests = [
        request_of("/classify", golden, key),
        request_of("/classify?top_k=1", golden, key, BY_FLASK),
        request_of("/classify?top_k=2", golden, key),
        request_of("/classify?top_k=3", golden, key, BY_FLASK),
    ]
    one_by_one = ask(service.url, *requests)
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as client:
        client.sendall(b"".join(requests))
        together = b""
        while together.count(b"HTTP/1.1 200 OK") < 4 or not together.endswith(b"\n"):
            together += client.recv(65536)
    assert re.sub(rb"Date: [^\r]+", b"Date: now", together) == b"".join(one_by_one)


def test_a_head_and_a_body_that_come_in_pieces_are_one_request(service, digits_exports):
    golden = golden_image(digits_exports)
    request = request_of("/classify", golden, f"X-API-Key: {KEY}")
    (whole,) = ask(service.url, request)
    address = urlsplit(service.url)
    for cut in (10, request.index(b"\r\n\r\n") + 4, len(request) - 5):
        with socket.create_connection((address.hostname, address.port), timeout=20) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(request[:cut])
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(20)
            client.sendall(request[cut:])
            answer = client.recv(65536)
        assert re.sub(rb"Date: [^\r]+", b"Date: now", answer) == whole
