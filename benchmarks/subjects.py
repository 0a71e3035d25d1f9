"""What `benchmarks.serving` measures: our service and its peers, each as a process that answers at a URL."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import first_answer

ROOT = Path(__file__).parent.parent
ENGINES = ("openvino", "tensorflow")
START_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Subject:
    """One server with one engine.

    Attributes:
        path: where it takes an image.
        field: of the form in which it takes it; empty: the body is the image.
        command: what starts it; {port} is filled in.
        variables: of its environment.
        headers: of each request.
    """

    name: str
    path: str
    field: str
    command: tuple[str, ...]
    variables: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """A subject that has answered.

    Attributes:
        start_s: from its start to its first answer.
    """

    url: str
    pid: int
    start_s: float


def ours(exports: Path, model: str, *, name: str = "Striate", **variables: str) -> Subject:
    command = (sys.executable, "-m", "service")
    """With the settings that a user gets: the log has a line for each request."""
    settings = {"SERVICE_EXPORTS": str(exports), "SERVICE_PORT": "{port}", **variables}
    return Subject(name, f"/models/{model}/classify", "", command, settings)


def nothing(metrics: str) -> Subject:
    """A view that does nothing under the service's own gunicorn settings.

    Args:
        metrics: an empty folder, which these settings want.
    """
    command = (
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "service/worker/gunicorn_conf.py",
        "benchmarks.nothing:app",
    )
    settings = {"SERVICE_PORT": "{port}", "SERVICE_LOG_LEVEL": "WARNING"}
    settings |= {"PROMETHEUS_MULTIPROC_DIR": metrics, "STRIATE_RUNTIME": metrics}
    return Subject("a view that does nothing", "/", "", command, settings)


def peers(python: str, bundle: Path) -> list[Subject]:
    """Every peer with every engine.

    Args:
        python: of an environment that has them: benchmarks/peers/requirements.txt.
    """
    scripts = Path(python).parent
    gunicorn = (str(scripts / "gunicorn"), "--bind", "127.0.0.1:{port}", "--workers", "1", "--threads", "4")
    bentoml = (str(scripts / "bentoml"), "serve", "benchmarks.peers.with_bentoml:Classifier", "--port", "{port}")
    forms = {
        "LitServe": ("/classify", "content", (python, "-m", "benchmarks.peers.with_litserve")),
        "BentoML": ("/classify", "image", bentoml),
        "Ray Serve": ("/classify", "", (python, "-m", "benchmarks.peers.with_ray")),
        "mosec": ("/inference", "", (python, "-m", "benchmarks.peers.with_mosec", "--port", "{port}")),
        "Flask": ("/classify", "", (*gunicorn, "benchmarks.peers.with_flask:app")),
    }
    return [
        Subject(
            f"{name}, {engine}",
            path,
            field,
            command,
            engine_variables(bundle, engine),
        )
        for engine in ENGINES
        for name, (path, field, command) in forms.items()
    ]


def triton(python: str, bundle: Path) -> list[Subject]:
    """Triton with its delay for company, and without.

    Args:
        python: of an environment that has it: benchmarks/peers/requirements-triton.txt.
    """
    return [
        Subject(
            f"Triton, {delay}, openvino",
            "/v2/models/classify/infer",
            "",
            (python, "-m", "benchmarks.peers.with_triton"),
            {**engine_variables(bundle, "openvino"), "BENCH_WAIT_S": wait_s},
            {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"},
        )
        for delay, wait_s in (("5 ms delay", "0.005"), ("no delay", "0"))
    ]


def engine_variables(bundle: Path, engine: str) -> dict[str, str]:
    return {"BENCH_BUNDLE": str(bundle), "BENCH_ENGINE": engine, "BENCH_PORT": "{port}"}


@contextlib.contextmanager
def running(subject: Subject, image: bytes, log: Path) -> Iterator[Running]:
    """Start it, wait for its first answer, and end it with all its processes."""
    port = free_port()
    variables = {name: value.format(port=port) for name, value in subject.variables.items()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    command = [part.format(port=port) for part in subject.command]
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}{subject.path}"
    try:
        body, headers = request_of(subject, image)
        first_answer(url, body, headers=headers, timeout_s=START_TIMEOUT_S)
        yield Running(url, process.pid, time.monotonic() - started)
    finally:
        end(process)


def request_of(subject: Subject, image: bytes) -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    if not subject.field:
        return image, {"Content-Type": "image/jpeg", **subject.headers}
    head = f'--striate\r\nContent-Disposition: form-data; name="{subject.field}"; filename="image.jpg"\r\n'
    return (
        head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + image + b"\r\n--striate--\r\n",
        {"Content-Type": "multipart/form-data; boundary=striate"},
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop; kill whatever is left, and what it leaves behind."""
    family = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=15)
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = {int(child) for thread in threads for child in (thread / "children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(p for child in sorted(children) for p in tree(child))]


def cpu_s(pid: int) -> float:
    """Processor time that a process and all below it have taken."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """What a process and all below it hold; memory that they share counts once."""
    kilobytes = 0
    for each in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
