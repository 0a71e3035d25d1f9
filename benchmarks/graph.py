"""What compose.yaml starts, without Docker: `python -m benchmarks.graph --exports EXPORTS`, as root.

Two services run from the files of the image `service-cpu` (deploy/build-images.sh), each with a network, processes, a
/tmp and a /dev/shm of its own, read-only otherwise and without privileges. Their models are in an object store, moto's
S3 server; nginx with deploy/proxies/nginx.conf is in front of them, and Prometheus with deploy/prometheus reads both.
While images are classified at a fixed rate, a version is promoted through the store, one service is killed with all its
processes, and started again. Prints how long each took and what the clients noticed.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import click
import numpy as np
import requests

from benchmarks.processes import circumstances, machine
from benchmarks.subjects import ROOT, free_port
from models.bundle.manifest import read_golden
from models.store.live import read_live, set_live
from models.store.origin import mirror_folder
from models.store.publish import publish
from tests.test_container import CONTAIN

WORK = Path("build/bench").absolute()
BRIDGE, NETWORK = "striate0", "10.77.0"
HOSTS = {"a": f"{NETWORK}.2", "b": f"{NETWORK}.3"}
BUCKET = "models"
WARM_S, AFTER_S = 10.0, 12.0
TIMEOUT_S = 120.0


@click.command(context_settings={"show_default": True})
@click.option("--exports", type=click.Path(path_type=Path, exists=True), required=True, help="With a trained `digits`.")
@click.option("--rate", type=float, default=40.0, help="Images a second.")
def main(exports: Path, rate: float) -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    root = ROOT / "build" / "service-cpu-root"
    if not root.is_dir():
        raise click.ClickException(f"There is no {root}: deploy/build-images.sh service-cpu makes it.")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(network())
        store = stack.enter_context(object_store())
        os.environ |= store
        mirror = mirror_folder(f"s3://{BUCKET}/exports", folder / "publisher")
        bundle = exports / "digits" / str(read_live(exports / "digits").live)
        for make_live in (True, False):
            publish(bundle, mirror, make_live=make_live)
        services = {name: Service(name, root, folder, store) for name in HOSTS}
        stack.callback(lambda: [service.kill() for service in services.values()])
        ready = {name: service.wait() for name, service in services.items()}
        proxy = stack.enter_context(nginx(folder))
        prometheus = stack.enter_context(started_prometheus(folder))
        image = folder / "image"
        (golden, _), *_ = read_golden(bundle)
        image.write_bytes(golden)
        found = {"ready_s": ready, **disturb(services, mirror, proxy, prometheus, image, rate)}
    report(found)
    result = {"benchmark": "graph", **circumstances(), **found}
    (WORK / "graph.json").write_text(json.dumps(result, indent=1) + "\n")


def disturb(
    services: dict[str, "Service"], mirror: Path, proxy: str, prometheus: str, image: Path, rate: float
) -> dict[str, Any]:
    seconds = WARM_S + 3 * AFTER_S
    command = [sys.executable, "-m", "benchmarks.open_loop", f"{proxy}/classify", str(image), str(rate), str(seconds)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    time.sleep(WARM_S)
    began = time.monotonic()
    set_live(mirror, "digits", 2)
    promoted = {name: until(lambda s=service: s.live() == 2) - began for name, service in services.items()}  # type: ignore[misc]
    time.sleep(max(0.0, began + AFTER_S - time.monotonic()))
    killed = time.monotonic()
    services["a"].kill()
    until(lambda: query(prometheus, 'up{instance=~".*2:8000"}') == 0.0)
    noticed = time.monotonic() - killed
    time.sleep(max(0.0, killed + AFTER_S - time.monotonic()))
    services["a"].start()
    again = services["a"].wait()
    output, _ = client.communicate()
    until(lambda: query(prometheus, "count(up == 1)") == 2.0)
    rows = np.array(json.loads(output)).reshape(-1, 3)
    return {
        "promoted_s": promoted,
        "down_noticed_s": noticed,
        "started_again_s": again,
        "requests": len(rows),
        "statuses": {str(int(status)): int((rows[:, 2] == status).sum()) for status in np.unique(rows[:, 2])},
        "p99_ms": 1000 * float(np.percentile(rows[:, 1], 99)),
        "longest_ms": 1000 * float(rows[:, 1].max()),
        "images_seen_by_prometheus": query(prometheus, "sum(striate_images_total)"),
        "alerts": query(prometheus, 'count(ALERTS{alertstate="firing"})') or 0,
    }


class Service:
    """One container's worth of processes, on a host of its own."""

    def __init__(self, name: str, root: Path, folder: Path, store: dict[str, str]) -> None:
        self._name, self._folder, self._store = name, folder, store
        self._root = folder / f"root-{name}"  # the tree is mounted twice, so each mount is of a path of its own
        subprocess.run(["cp", "--archive", "--link", root, self._root], check=True)
        self.url = f"http://{HOSTS[name]}:8000"
        self.start()

    def start(self) -> None:
        inspected = json.loads((ROOT / "build" / "service-cpu.json").read_text())["Docker"]["config"]
        variables = dict(variable.split("=", 1) for variable in inspected["Env"])
        variables |= {
            **self._store,
            "HOME": "/",
            "SERVICE_EXPORTS": f"s3://{BUCKET}/exports",
            "SERVICE_ALLOW_ANONYMOUS": "1",
            "SERVICE_FEEDBACK": "",
        }
        exports = self._folder / "none"
        exports.mkdir(exist_ok=True)
        contain = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", CONTAIN, "sh"]
        what = [self._root, exports, inspected["User"], *inspected["Entrypoint"], *inspected["Cmd"]]
        self._started = time.monotonic()
        with (WORK / f"graph-{self._name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", f"striate-{self._name}", *contain, *what], env=variables, stdout=log, stderr=log
            )

    def wait(self) -> float:
        """Seconds from its start until it is ready."""
        return until(lambda: status(f"{self.url}/readyz") == 200) - self._started

    def live(self) -> int | None:
        live: int | None = requests.get(f"{self.url}/models/digits", timeout=5).json()["live"]
        return live

    def kill(self) -> None:
        """With all its processes, as a machine that loses its power."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def network() -> Iterator[None]:
    """A bridge, and a host on it for each service."""

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for name, address in HOSTS.items():
            host = f"striate-{name}"
            ip("netns", "add", host)
            ip("link", "add", f"veth-{name}", "type", "veth", "peer", "name", "eth0", "netns", host)
            ip("link", "set", f"veth-{name}", "master", BRIDGE, "up")
            ip("-n", host, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", host, "link", "set", "eth0", "up")
            ip("-n", host, "link", "set", "lo", "up")
        yield
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "delete", f"striate-{name}"], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "delete", BRIDGE], stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """An S3 server; the variables by which it is found."""
    port = free_port()
    url = f"http://{NETWORK}.1:{port}"
    command = [sys.executable, "-m", "moto.server", "--host", f"{NETWORK}.1", "--port", str(port)]
    with started(command, WORK / "graph-store.log"):
        until(lambda: status(f"{url}/moto-api/") == 200)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
        )
        client.create_bucket(Bucket=BUCKET)
        yield {"AWS_ENDPOINT_URL": url, **keys}


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    port = free_port()
    text = (ROOT / "deploy" / "proxies" / "nginx.conf").read_text()
    upstreams = " ".join(f"server {address}:8000;" for address in HOSTS.values())
    text = text.replace("server 127.0.0.1:8000;", upstreams, 1).replace("/var/log/nginx", str(folder))
    text = "\n".join(line for line in text.splitlines() if "ssl_certificate" not in line)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    paths = "".join(f"{n}_temp_path {folder}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"pid {folder}/pid; events {{}} http {{ {paths} {text} }}")
    command = [
        "nginx",
        "-c",
        str(folder / "nginx.conf"),
        "-e",
        str(WORK / "graph-nginx.log"),
        "-g",
        "daemon off; user root;",
    ]
    with started(command, WORK / "graph-nginx.out"):
        url = f"http://127.0.0.1:{port}"
        until(lambda: status(f"{url}/readyz") == 200)
        yield url


@contextlib.contextmanager
def started_prometheus(folder: Path) -> Iterator[str]:
    shutil.copytree(ROOT / "deploy" / "prometheus", folder / "prometheus")
    config = folder / "prometheus" / "prometheus.yml"
    text = config.read_text().replace('"striate:8000"', ", ".join(f'"{address}:8000"' for address in HOSTS.values()))
    config.write_text(text.replace("_interval: 15s", "_interval: 1s"))
    port = free_port()
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with started([*command, f"--web.listen-address=127.0.0.1:{port}"], WORK / "graph-prometheus.log"):
        url = f"http://127.0.0.1:{port}"
        until(lambda: status(f"{url}/-/ready") == 200)
        yield url


@contextlib.contextmanager
def started(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def query(prometheus: str, expression: str) -> float | None:
    answer = requests.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10).json()
    rows = answer["data"]["result"]
    return float(rows[0]["value"][1]) if rows else None


def status(url: str) -> int:
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0


def until(condition: Callable[[], bool]) -> float:
    """When it holds, in seconds of CLOCK_MONOTONIC."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise click.ClickException(f"Waited {TIMEOUT_S:g} s in vain; build/bench/graph-*.log may say why.")
        time.sleep(0.02)
    return time.monotonic()


def report(found: dict[str, Any]) -> None:
    print(f"{machine()}\n\n| what | figure |\n|---|---|")
    for name, value in found.items():
        shown = value if not isinstance(value, float) else round(value, 2)
        if isinstance(value, dict):
            shown = ", ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k}: {v}" for k, v in value.items())
        print(f"| {name} | {shown} |")


if __name__ == "__main__":
    main()
