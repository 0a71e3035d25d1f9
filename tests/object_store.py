"""An S3 server over HTTP, moto's, which can be slow, fail, cut its answers short, and list what was there before."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import requests
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "models"


@dataclass
class Bucket:
    """A running server with one bucket; the attributes say how it misbehaves from now on."""

    url: str = ""
    delay_s: float = 0.0
    failing: Callable[[str, str], bool] = lambda method, path: False  # answered with 503, by method and path
    cut: int = 0  # bodies of objects that are cut short, as many as this
    lists_old: bool = False  # lists stay as they were when each was asked for first
    ignores_conditions: bool = False
    seen: list[tuple[str, str]] = field(default_factory=list)  # method and path of every request
    _lists: dict[str, tuple[str, Any, list[bytes]]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"s3://{BUCKET}/exports"

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs that is to find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=f"exports/{key}", Body=data)

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=f"exports/{key}")["Body"].read()
        return content

    def delete(self, prefix: str) -> None:
        for key in self.keys(prefix):
            self.client.delete_object(Bucket=BUCKET, Key=f"exports/{key}")

    def keys(self, prefix: str = "") -> list[str]:
        listed = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"exports/{prefix}").get("Contents", [])
        return [each["Key"].removeprefix("exports/") for each in listed]

    def around(self, application: Any) -> Any:
        """The WSGI application with this server's faults."""

        def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            self.seen.append((method, path))
            time.sleep(self.delay_s)
            if self.failing(method, path):
                start_response("503 Slow Down", [("Content-Length", "0")])
                return [b""]
            if self.ignores_conditions:
                for header in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
                    environ.pop(header, None)
            is_list = method == "GET" and "list-type" in environ["QUERY_STRING"]
            if is_list and self.lists_old and environ["QUERY_STRING"] in self._lists:
                status, headers, body = self._lists[environ["QUERY_STRING"]]
                start_response(status, headers)
                return body
            said: list[Any] = []
            body = list(application(environ, lambda status, headers, *_: said.extend((status, headers))))
            if is_list:
                self._lists[environ["QUERY_STRING"]] = said[0], said[1], body
            start_response(*said)
            if method == "GET" and not is_list and self.cut > 0 and sum(map(len, body)) > 1:
                self.cut -= 1
                return [b"".join(body)[:-1]]  # shorter than its Content-Length; the connection is closed
            return body

        return answer


@contextlib.contextmanager
def running_bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, bucket.around(application), threaded=True)
    bucket.url = f"http://127.0.0.1:{server.port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        requests.post(f"{bucket.url}/moto-api/reset", timeout=10).raise_for_status()
        bucket.client.create_bucket(Bucket=BUCKET)
        yield bucket
    finally:
        server.shutdown()
        server.server_close()


def use(bucket: Bucket, monkeypatch: Any) -> None:
    """Have this process find the server."""
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
