"""A file of weights is fetched whole or not at all, only from where it should come, and checked by its hash."""

import hashlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.networks.registry import ARCHITECTURES
from training.cli.app import main
from training.weights import published
from training.weights.download import CannotDownload, download
from training.weights.keras_names import APPLICATIONS
from training.weights.pretrained import TORCH_NETWORKS
from training.weights.published import PUBLISHED, Published
from training.weights.torch_file import BadWeights

CONTENT = bytes(range(256)) * 4000  # about a megabyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HTTP = ("http",)


class Handler(BaseHTTPRequestHandler):
    """/whole, /short, which ends too early, /endless, /moved, which leads elsewhere, and nothing else."""

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.requests.append(name)
        if name.startswith("moved"):
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere)
            self.end_headers()
            return
        if name not in ("whole", "short", "endless"):
            self.send_error(404)
            return
        self.send_response(200)
        if name != "endless":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        for _ in range(20 if name == "endless" else 1):
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if name == "short" else CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.elsewhere, server.handle_error = [], "", lambda *_: None
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with serving() as server:
        yield server


def entry(server: HTTPServer, name: str, *, scheme: str = "http", digest: str = SHA256[:8]) -> Published:
    url = f"{scheme}://127.0.0.1:{server.server_port}/{name}"
    return Published("resnet18", url, "sha256", digest, len(CONTENT) / 1e6, 0.7, "none")


def test_a_file_is_fetched_once_and_checked_each_time(server: HTTPServer, tmp_path: Path) -> None:
    path = download(entry(server, "whole"), tmp_path / "new", HTTP)
    assert path.read_bytes() == CONTENT
    assert download(entry(server, "whole"), tmp_path / "new", HTTP) == path
    assert server.requests == ["whole"]
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(BadWeights, match="has the sha256"):
        download(entry(server, "whole"), tmp_path / "new", HTTP)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("short", "the connection ended after 512,000 of 1024000 bytes"),
        ("endless", "it is larger than 1,075,200 bytes"),
        ("absent", "Not Found"),
    ],
)
def test_what_does_not_come_whole_is_one_sentence_and_leaves_nothing(
    server: HTTPServer, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(CannotDownload, match=reason) as raised:
        download(entry(server, name), tmp_path, HTTP)
    said = str(raised.value)
    assert f"its sha256 begins with {SHA256[:8]}) and give it by --file PATH" in said
    assert said.endswith("striate train --model resnet18.")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_content_leaves_nothing(server: HTTPServer, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="begins with 00000000: it is damaged or another file"):
        download(entry(server, "whole", digest="00000000"), tmp_path, HTTP)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_asked_over_http_unless_that_is_allowed(server: HTTPServer, tmp_path: Path) -> None:
    with pytest.raises(CannotDownload, match="no address of an allowed kind"):
        download(entry(server, "whole"), tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("elsewhere", ["ftp://127.0.0.1/whole", "file:///etc/passwd", "https://127.0.0.1:1/whole"])
def test_a_redirect_leads_to_no_other_scheme(server: HTTPServer, tmp_path: Path, elsewhere: str) -> None:
    server.elsewhere = elsewhere
    with pytest.raises(CannotDownload, match=r"no address of an allowed kind|is not allowed"):
        download(entry(server, "moved"), tmp_path, HTTP)


def test_a_redirect_within_the_scheme_is_followed(server: HTTPServer, tmp_path: Path) -> None:
    server.elsewhere = f"http://127.0.0.1:{server.server_port}/whole"
    assert download(entry(server, "moved"), tmp_path, HTTP).read_bytes() == CONTENT


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_a_server_whose_certificate_nobody_signed_is_not_believed(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as server, pytest.raises(CannotDownload, match="CERTIFICATE_VERIFY_FAILED"):
        download(entry(server, "whole", scheme="https"), tmp_path / "new")


def test_offline_the_command_ends_with_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = replace(PUBLISHED["resnet18"], url="https://127.0.0.1:1/resnet18-f37072fd.pth")
    monkeypatch.setitem(published.PUBLISHED, "resnet18", nowhere)
    places = ["--cache", str(tmp_path / "cache"), "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(main, ["import-weights", "resnet18", "--download", *places])
    assert result.exit_code == 1
    assert "cannot be fetched ([Errno 111] Connection refused)" in result.output
    assert "46.8 MB, its sha256 begins with f37072fd) and give it by --file PATH" in result.output
    assert not (tmp_path / "runs").exists()


def test_every_published_file_is_of_a_network_that_is_here_and_can_be_read() -> None:
    for entry in PUBLISHED.values():
        assert entry.network in ARCHITECTURES
        assert entry.network in (APPLICATIONS if entry.algorithm == "md5" else TORCH_NETWORKS)
        assert entry.url.startswith("https://")
        assert len(bytes.fromhex(entry.digest)) == (16 if entry.algorithm == "md5" else 4)
        assert entry.algorithm == "md5" or entry.file.endswith(f"-{entry.digest}.pth")
    assert set(APPLICATIONS) | set(TORCH_NETWORKS) <= set(ARCHITECTURES)
