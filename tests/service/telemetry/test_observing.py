"""What an operator sees of each request: a line in the log, spans, metrics under the names of other servers."""

import gzip
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.harness import RunningService, golden_image, metric, running_service, wait_until


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Span]]]:
    """What takes OpenTelemetry's traces: its URL, and the spans that came."""
    spans: list[Span] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    server.shutdown()
    server.server_close()
    thread.join()


def lines_of(service: RunningService, path: str) -> list[dict]:
    """The log's lines about requests to this path."""
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    return [line for line in lines if f" {path} " in line["message"]]


def test_each_request_has_one_line_with_what_answered_it_and_how_long_each_stage_took(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path) as service:
        image = golden_image(digits_exports)
        answer = requests.post(service.url + "/classify", data=image, headers={"X-Request-Id": "mine"}, timeout=10)
        assert answer.headers["X-Request-Id"] == "mine"
        requests.post(service.url + "/classify", data=b"no image", headers={"X-Request-Id": "bad\tid"}, timeout=10)
        wait_until(lambda: len(lines_of(service, "/classify")) == 2, service)
        # each worker writes its own lines, a tenth of a second after their requests
        good, bad = sorted(lines_of(service, "/classify"), key=lambda line: line["status"])
        assert good["message"] == "POST /classify 200"
        assert (good["request_id"], good["model"], good["version"], good["images"]) == ("mine", "digits", 1, 1)
        assert 0 <= good["decode_ms"] + good["inference_ms"] <= good["total_ms"]
        assert (bad["status"], bad["error"]) == (400, "image_invalid")
        assert re.fullmatch("[0-9a-f]{32}", bad["request_id"])
        assert not lines_of(service, "/readyz")


def test_a_request_and_its_stages_become_spans(digits_exports, tmp_path, collector):
    url, spans = collector
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with running_service(digits_exports, tmp_path, otlp_endpoint=url) as service:
        headers = {"traceparent": f"00-{trace}-{parent}-01"}
        requests.post(service.url + "/classify", data=golden_image(digits_exports), headers=headers, timeout=10)
        assert service.stop() == 0  # what was not sent is sent now
    mine = {span.name: span for span in spans if span.trace_id.hex() == trace}
    assert mine.keys() == {"/classify", "decode", "queue", "inference"}
    request = mine["/classify"]
    assert request.parent_span_id.hex() == parent
    attributes = {attribute.key: attribute.value for attribute in request.attributes}
    assert attributes["striate.model"].string_value == "digits"
    for name in ("decode", "queue", "inference"):
        stage = mine[name]
        assert stage.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= request.end_time_unix_nano


def test_a_clients_own_timeout_is_kept(digits_service, digits_exports):
    def ask(timeout: str) -> requests.Response:
        image, headers = golden_image(digits_exports), {"X-Request-Timeout-Ms": timeout}
        return requests.post(digits_service + "/classify", data=image, headers=headers, timeout=10)

    assert ask("5000").status_code == 200
    for timeout in ("0", "-1", "x", "1.5", "", "9999999999"):
        refused = ask(timeout)
        assert refused.status_code == 400
        assert "X-Request-Timeout-Ms" in refused.json()["error"]["message"]


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/1.0"])
def test_work_for_clients_that_have_gone_is_dropped(digits_exports, tmp_path, protocol):
    """Images of many clients wait for an engine that is stopped; the clients go; nothing is left to compute."""
    with running_service(digits_exports, tmp_path, workers=1, hang_timeout_s=60) as service:
        image = golden_image(digits_exports)
        head = f"POST /classify {protocol}\r\nHost: x\r\nContent-Length: {len(image)}\r\n\r\n".encode()
        host, port = service.url.removeprefix("http://").split(":")
        stop(service, 1)
        clients = [socket.create_connection((host, int(port))) for _ in range(20)]
        for client in clients:
            client.sendall(head + image)
        wait_until(lambda: metric(service, "striate_waiting_images") == 20, service)
        for client in clients:
            client.close()
        wait_until(lambda: metric(service, "striate_waiting_images") == 0, service)
        stop(service, 0)
        assert requests.post(service.url + "/classify", data=image, timeout=10).status_code == 200
        wait_until(lambda: metric(service, r'striate_requests_total.*status="499"') == 20, service)
        assert metric(service, r"striate_inference_seconds_count") <= 3  # readiness, at most one of theirs, the last
        assert [line["error"] for line in lines_of(service, "/classify") if line["status"] == 499] == [
            "client_gone"
        ] * 20


def test_a_client_that_has_only_closed_its_own_direction_is_answered(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path, workers=1, hang_timeout_s=60) as service:
        image = golden_image(digits_exports)
        head = f"POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(image)}\r\n\r\n"
        host, port = service.url.removeprefix("http://").split(":")
        stop(service, 1)
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(head.encode() + image)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"  # nobody would reset this connection
            wait_until(lambda: metric(service, "striate_waiting_images") == 1, service)
            stop(service, 0)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert metric(service, r'striate_requests_total.*status="499"') == 0


def stop(service: RunningService, stopped: int) -> None:
    """Halt or continue the engine, as a hang would."""
    os.kill(service.engine(1), signal.SIGSTOP if stopped else signal.SIGCONT)


def test_metrics_have_the_names_that_other_servers_gave_them(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path) as service:
        image = golden_image(digits_exports)
        for _ in range(3):
            requests.post(service.url + "/classify", files={"a": image, "b": image}, timeout=10)
        requests.post(service.url + "/classify", data=b"no image", timeout=10)
        labels = '{model="digits",version="1"}'
        wait_until(lambda: metric(service, re.escape(f"nv_inference_request_failure{labels}")) == 1, service)
        wait_until(lambda: metric(service, re.escape(f"nv_inference_request_success{labels}")) == 3, service)
        wait_until(lambda: metric(service, r"striate_batch_size_sum") >= 6, service)
        assert metric(service, re.escape(f"nv_inference_count{labels}")) == 6
        assert metric(service, re.escape(f"nv_inference_exec_count{labels}")) >= 4
        wait_until(lambda: metric(service, r'nv_inference_pending_request_count\{model="digits"\}') == 0, service)
        served = r':tensorflow:serving:request_count\{model_name="digits",status="OK"\}'
        assert metric(service, served) == 3
        assert metric(service, r'striate_errors_total\{code="image_invalid"\}') == 1
        assert metric(service, r"striate_engine_load_seconds") > 0
