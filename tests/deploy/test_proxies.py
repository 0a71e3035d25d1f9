"""A real nginx and a real Caddy, with the files of deploy/proxies, in front of a real service."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import ARGUMENTS, CHROMIUM
from tests.harness import RunningService, golden_image, running_service
from tests.needs import needs
from tests.processes import ROOT, free_port

PROXIES = ROOT / "deploy" / "proxies"
MAX_BODY = 16_000_000


@pytest.fixture(scope="module")
def service(digits_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(digits_exports, tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """certificate.pem and key.pem, signed by themselves."""
    folder = tmp_path_factory.mktemp("certificate")
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:vision.example.org,DNS:www.example.org"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def nginx(service: RunningService, certificate: Path, folder: Path, port: int) -> list[str]:
    text = (PROXIES / "nginx.conf").read_text()
    text = text.replace("127.0.0.1:8000", service.url.removeprefix("http://")).replace("443", str(port))
    text = text.replace("/etc/ssl/vision.example.org.pem", str(certificate / "certificate.pem"))
    text = text.replace("/etc/ssl/vision.example.org.key", str(certificate / "key.pem"))
    text = text.replace("/var/log/nginx", str(folder))
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"user root; pid {folder}/pid; events {{}} http {{ {paths}\n{text} }}")
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"), "-g", "daemon off;"]


def caddy(service: RunningService, certificate: Path, folder: Path, port: int) -> list[str]:
    text = (PROXIES / "Caddyfile").read_text()
    text = text.replace("127.0.0.1:8000", service.url.removeprefix("http://"))
    tls = f"{{\n\ttls {certificate / 'certificate.pem'} {certificate / 'key.pem'}"
    text = re.sub(r"^(vision|www)\.example\.org \{", rf"\1.example.org:{port} {tls}", text, flags=re.MULTILINE)
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + text)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(
    scope="module",
    params=[pytest.param(nginx, marks=needs("nginx")), pytest.param(caddy, marks=needs("caddy"))],
    ids=["nginx", "caddy"],
)
def port(
    request: pytest.FixtureRequest,
    service: RunningService,
    certificate: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """At which the proxy listens."""
    port, folder = free_port(), tmp_path_factory.mktemp("proxy")
    command = request.param(service, certificate, folder, port)
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env={"HOME": str(folder), "PATH": "/usr/bin:/usr/sbin"}
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                ask("vision.example.org", port, "/readyz")
                break
            except ConnectionError:
                assert process.poll() is None, (folder / "said").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def ask(host: str, port: int, path: str, body: bytes | None = None) -> tuple[int, str]:
    """Status and text, by curl."""
    to = ["--resolve", f"{host}:{port}:127.0.0.1", "--insecure", f"https://{host}:{port}{path}"]
    data = [] if body is None else ["--data-binary", "@-", "--header", "Expect:", "--header", "Content-Type: image/png"]
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", *data, *to]
    done = subprocess.run(command, input=body, capture_output=True)
    if done.returncode:
        raise ConnectionError(done.stderr.decode())
    text, _, status = done.stdout.decode().rpartition("\n")
    return int(status), text


WAYS = [("vision.example.org", ""), ("www.example.org", "/vision")]


@pytest.mark.parametrize(("host", "prefix"), WAYS)
def test_an_image_is_classified_through_the_proxy(port: int, host: str, prefix: str, digits_exports: Path) -> None:
    status, text = ask(host, port, f"{prefix}/classify", golden_image(digits_exports))
    assert status == 200, text
    assert json.loads(text)["predictions"][0]["label"] == "3"


@pytest.mark.parametrize(("host", "prefix"), WAYS)
def test_a_body_as_large_as_the_service_takes_reaches_it_and_a_larger_one_gets_its_own_answer(
    port: int, host: str, prefix: str
) -> None:
    for size, code in ((MAX_BODY, "image_"), (MAX_BODY + 100_000, "too_large")):
        _, text = ask(host, port, f"{prefix}/classify", bytes(size))
        assert text.startswith("{"), text
        assert code in json.loads(text)["error"]["code"]  # no page of the proxy's


@pytest.mark.parametrize(("host", "prefix"), WAYS)
def test_metrics_are_not_for_everybody(port: int, host: str, prefix: str) -> None:
    status, text = ask(host, port, f"{prefix}/metrics")
    assert (status, "striate" in text) == (404, False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = [*ARGUMENTS, "--host-resolver-rules=MAP *.example.org 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.mark.parametrize(("host", "prefix"), WAYS)
def test_the_page_works_below_its_path(port: int, host: str, prefix: str, browser: Browser) -> None:
    page: Page = browser.new_page(ignore_https_errors=True)
    failed: list[str] = []
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.goto(f"https://{host}:{port}{prefix}/")
    expect(page.get_by_label("Version", exact=True)).not_to_have_value("", timeout=30_000)
    page.goto(f"https://{host}:{port}{prefix}/models/digits/versions")
    expect(page.locator("main")).to_contain_text("digits", timeout=30_000)
    page.close()
    assert failed == []
