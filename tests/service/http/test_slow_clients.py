"""Hundreds of clients that send nothing, or drip, harm nobody; and they are sent away."""

import contextlib
import socket
import time
from urllib.parse import urlsplit

import pytest
import requests

from tests.harness import golden_image, running_service

NUM_SLOW = 500
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"


@pytest.fixture(scope="module")
def service(digits_exports, tmp_path_factory):
    with running_service(digits_exports, tmp_path_factory.mktemp("slow"), read_timeout_s=2) as service:
        yield service


@contextlib.contextmanager
def slow_clients(url: str, sent: bytes):
    """Connections that have sent this much of a request and go no further."""
    address = urlsplit(url)
    sockets = [socket.create_connection((address.hostname, address.port)) for _ in range(NUM_SLOW)]
    try:
        for one in sockets:
            one.sendall(sent)
        yield sockets
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize("sent", [b"", HEAD[:20], HEAD, HEAD + b"\r\n\x89PNG"], ids=["silent", "line", "head", "body"])
def test_slow_clients_do_not_keep_good_ones_from_being_answered(service, digits_exports, sent):
    image = golden_image(digits_exports)
    with slow_clients(service.url, sent) as sockets:
        for _ in range(10):
            response = requests.post(service.url + "/classify", data=image, timeout=10)
            assert response.status_code == 200
        for one in sockets:
            one.settimeout(15)
            assert reads_until_closed(one) in (b"", b"HTTP/1.1 408")


def reads_until_closed(client: socket.socket) -> bytes:
    """What a client is told before the connection is closed on it: the status line's start, or nothing."""
    with contextlib.suppress(ConnectionResetError):
        told = client.recv(1000)[:12]
        while client.recv(1000):
            continue
        return told
    return b""


def test_a_head_that_drips_is_cut_off_by_the_clock_and_not_by_each_byte(service):
    address = urlsplit(service.url)
    started = time.monotonic()
    with socket.create_connection((address.hostname, address.port)) as client, contextlib.suppress(OSError):
        for byte in HEAD * 100:
            client.sendall(bytes([byte]))
            client.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                if client.recv(1000) == b"":
                    break
    assert time.monotonic() - started < 15
