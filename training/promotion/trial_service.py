"""Runs a real service with one or two bundles, so that the gate judges predictions as they are served over HTTP.

Started as a process, since training imports nothing of the service; engine and precision are those of the environment
(SERVICE_ENGINE, SERVICE_PRECISION), so that they can be those of the service that has the model.
"""

import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import GOLDEN, list_golden, loaded_bytes, read_golden, read_manifest
from models.errors import Failed
from models.process.children import python_command, python_environment
from training.promotion.gate import ModelPredictions

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 120.0
IMAGES_A_REQUEST, BYTES_A_REQUEST = 32, 8_000_000
NUM_CLIENTS = 4
NUM_LONE = 40  # requests of one image, by which latency is judged
KEPT_SETTINGS = ("SERVICE_ENGINE", "SERVICE_PRECISION")
GOLDEN_TOLERANCE = 0.1  # in probability; the engine itself holds them to what its precision explains


class ServiceFailed(Failed):
    """The service that was started to ask bundles did not start, or did not answer."""


@dataclass(frozen=True, slots=True)
class TrialService:
    """A started service with some bundles: version i + 1 of `model` is the i-th."""

    port: int
    model: str

    def classify(self, version: int, images: Sequence[Path]) -> np.ndarray:
        """Probabilities float64 (N, num_classes) of image files, in the bundle's order of classes."""
        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            chunks = [np.array(rows) for rows in pool.map(lambda some: self._ask(version, some), in_requests(images))]
        return np.concatenate(chunks) if chunks else np.empty((0, 0))

    def latencies_ms(self, versions: Sequence[int], images: Sequence[Path]) -> list[list[float]]:
        """Latencies of single-image requests, by version. The versions take turns, so that other work on the machine
        affects all alike.
        """
        found: list[list[float]] = [[] for _ in versions]
        with contextlib.closing(self._connection()) as connection:
            for i in range(NUM_LONE):
                image = images[i % len(images)].read_bytes()
                for version, times in zip(versions, found, strict=True):
                    began = time.perf_counter()
                    self._post(connection, version, image, "application/octet-stream")
                    times.append(1000 * (time.perf_counter() - began))
        return [times[len(times) // 10 :] for times in found]  # the first ones find everything cold

    def _ask(self, version: int, images: Sequence[Path]) -> list[list[float]]:
        body = json.dumps({"images": [base64.b64encode(image.read_bytes()).decode() for image in images]}).encode()
        with contextlib.closing(self._connection()) as connection:
            predictions = self._post(connection, version, body, "application/json")["predictions"]
        rows = [sorted((row["index"], row["probability"]) for row in prediction["top"]) for prediction in predictions]
        return [[probability for _, probability in row] for row in rows]

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)

    def _post(self, connection: http.client.HTTPConnection, version: int, body: bytes, kind: str) -> Any:
        path = f"/models/{urllib.parse.quote(self.model)}/versions/{version}/classify?top_k=999999"
        connection.request("POST", path, body, {"Content-Type": kind})
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise ServiceFailed(f"Version {version} answers {response.status}: {answer['error']['message']}")
        return answer


@contextlib.contextmanager
def trial_service(bundles: Sequence[Path]) -> Iterator[TrialService]:
    """A service of one's own with these bundles of one model, at most two.

    Raises:
        ServiceFailed: it did not start, or refuses one of the bundles; says which.
    """
    model = read_manifest(bundles[0]).model
    work = Path(tempfile.mkdtemp(prefix="striate-gate-"))
    try:
        home = work / "exports" / model
        home.mkdir(parents=True)
        for i, bundle in enumerate(bundles):
            (home / str(i + 1)).symlink_to(bundle.resolve())
        pointer = {"live": len(bundles), "previous": len(bundles) - 1 or None}
        (home / "live.json").write_text(json.dumps(pointer))
        with running(work) as (process, port):
            service = TrialService(port, model)
            wait_for(service, len(bundles), process, work / "service.log")
            yield service
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def running(work: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("SERVICE_") or name in KEPT_SETTINGS
    }
    settings = {
        "SERVICE_PORT": str(port),
        "SERVICE_EXPORTS": str(work / "exports"),
        "SERVICE_FEEDBACK": "",
        "SERVICE_LOG_LEVEL": "WARNING",
        "SERVICE_DEADLINE_S": str(ANSWER_TIMEOUT_S),
        "SERVICE_DRAIN_DELAY_S": "0",
        "SERVICE_QUEUE_CAPACITY": "100000",  # all may come to one of its processes
        "SERVICE_MAX_BODY_BYTES": "300000000",
    }
    with (work / "service.log").open("wb") as log:
        process = subprocess.Popen(
            python_command("training.promotion.trial_process", str(os.getpid())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=python_environment({**kept, **settings}),
        )
    try:
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(service: TrialService, count: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until every version answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        states = states_of(service)
        refused = [row for row in states if row["state"] == "rejected"]
        if refused:
            raise ServiceFailed(f"The service refuses version {refused[0]['version']}: {refused[0]['reason']}")
        if [row["state"] for row in states] == ["available"] * count:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise ServiceFailed(f"The service that was to be asked did not start: {last[:500]}")
        time.sleep(0.1)


def states_of(service: TrialService) -> list[dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
    try:
        connection.request("GET", f"/models/{service.model}")
        response = connection.getresponse()
        body = json.loads(response.read())
        return body["versions"] if response.status == 200 else []
    except (OSError, http.client.HTTPException):
        return []
    finally:
        connection.close()


def in_requests(images: Sequence[Path]) -> Iterator[list[Path]]:
    """So many as one request may have, by count and bytes."""
    chosen: list[Path] = []
    num_bytes = 0
    for image in images:
        size = image.stat().st_size
        if chosen and (len(chosen) == IMAGES_A_REQUEST or num_bytes + size > BYTES_A_REQUEST):
            yield chosen
            chosen, num_bytes = [], 0
        chosen.append(image)
        num_bytes += size
    if chosen:
        yield chosen


def golden_fault(service: TrialService, version: int, bundle: Path) -> str:
    """What is wrong with the answers to a bundle's golden images; "" where nothing is."""
    golden = read_golden(bundle)
    got = service.classify(version, golden_files(bundle))
    for i, (_, expected) in enumerate(golden):
        difference = float(np.abs(got[i] - np.array(expected)).max())
        if not difference <= GOLDEN_TOLERANCE:
            return f"golden image {i} differs by {difference:.3g} in probability"
    return ""


def golden_files(bundle: Path) -> list[Path]:
    return [bundle / GOLDEN / row.file for row in list_golden(bundle)]


def answers_of(
    service: TrialService, version: int, bundle: Path, images: Sequence[Path], latencies: list[float]
) -> ModelPredictions:
    names = read_manifest(bundle).class_names
    return ModelPredictions(names, service.classify(version, images), latencies, loaded_bytes(bundle))
