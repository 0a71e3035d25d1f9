"""What clients notice of reloads, deaths and overload: `python -m benchmarks.faults`.

Against a real service with random weights, by requests at a fixed rate (benchmarks.open_loop):

    reloads    half of what the service can do, and a version published every ten seconds: from that moment until two
               seconds after it answers
    steady     the time between reloads, so that a machine whose speed drifts drifts for both
    kills      the same load, while the engine that answers is killed with -9 every few seconds
    overload   four times what it can do
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
import requests

from benchmarks.bundles import publish_random
from benchmarks.images import photograph
from benchmarks.processes import circumstances, machine
from benchmarks.serving import BUSY, WARM_UP_S, WORK, exports_of, run_wrk
from benchmarks.subjects import Running, memory_mb, ours, running, tree
from models.bundle.preprocessing import InputSpec
from models.process.idle import give_way
from models.store.publish import publish

LOAD = 0.5  # of capacity
WARM_S = 4.0
QUIET_S = 3.0  # before each reload
SETTLING_S = 2.0  # after one: the engine of the version before last ends
OVERLOAD = 4.0
KILL_EVERY_S = 4.0
CAPACITY_S = 6
PIECE_S = 5


@click.command(context_settings={"show_default": True})
@click.option("--model", default="resnet18", help="Architecture, with random weights and 1000 classes.")
@click.option("--side", type=click.IntRange(1), default=224, help="Height and width of its input, in pixels.")
@click.option("--seconds", type=click.IntRange(1), default=30, help="Of kills and of overload.")
@click.option("--reloads", type=click.IntRange(1), default=20)
@click.option("--deadline-s", type=float, default=2.0, help="SERVICE_DEADLINE_S.")
def main(model: str, side: int, seconds: int, reloads: int, deadline_s: float) -> None:
    """Disturb the service, and count who noticed."""
    WORK.mkdir(parents=True, exist_ok=True)
    image = WORK / "photograph.jpg"
    image.write_bytes(photograph(500, 375, seed=0))
    prepared, exports = exports_of(model, side), (WORK / "faults").absolute()
    publish_random(model, InputSpec(side, side, 3), 1000, prepared, [image.read_bytes()])
    shutil.rmtree(exports, ignore_errors=True)
    bundle = prepared / model / "1"
    publish(bundle, exports)
    capacity = measure_capacity(ours(exports, model), image)
    half_of_it = int(capacity * deadline_s / 2)  # who finds the queue full would have waited longer than that
    settings = {"SERVICE_DEADLINE_S": str(deadline_s), "SERVICE_QUEUE_CAPACITY": str(max(8, half_of_it))}
    with running(ours(exports, model, **settings), image.read_bytes(), WORK / "faults.log") as server:
        ask(
            server, image, LOAD * capacity, WARM_S
        )  # both versions have seen work, as those after the reloads will have
        publish(bundle, exports)
        wait_for_version(server, 2)
        ask(server, image, LOAD * capacity, WARM_S)
        memory = [memory_mb(server.pid)]
        reloading: list[tuple[float, float]] = []

        def reload() -> Iterator[None]:
            for number in range(3, 3 + reloads):
                time.sleep(QUIET_S)
                began = time.monotonic()
                publish_aside(bundle, exports)
                wait_for_version(server, number)
                time.sleep(SETTLING_S)
                reloading.append((began, time.monotonic()))
                yield

        rows = ask_while(server, image, LOAD * capacity, reload)
        during = np.any([(rows[:, 0] >= began) & (rows[:, 0] < ended) for began, ended in reloading], axis=0)
        found = {"steady": rows[~during], "reloads": rows[during]}
        memory.append(memory_mb(server.pid))

        def kill() -> Iterator[None]:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                os.kill(answering_engine(server, 2 + reloads), signal.SIGKILL)
                time.sleep(KILL_EVERY_S)
                yield

        found["kills"] = ask_while(server, image, LOAD * capacity, kill)
        found["overload"] = ask(server, image, OVERLOAD * capacity, seconds)
    report(found, capacity, memory, deadline_s, reloads)
    figures = {name: summary(rows) for name, rows in found.items()}
    result = {"benchmark": "faults", "model": model, **circumstances(), "capacity": capacity, "memory_mb": memory}
    print(json.dumps({**result, **figures}))


def measure_capacity(subject: Any, image: Path) -> float:
    """Images/s that 16 clients get, who ask again as soon as they are answered."""
    with running(subject, image.read_bytes(), WORK / "capacity.log") as server:
        run_wrk(subject, server.url, image, BUSY, WARM_UP_S)
        rate: float = run_wrk(subject, server.url, image, BUSY, CAPACITY_S)["images_per_s"]
        return rate


def start_asking(server: Running, image: Path, rate: float, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.open_loop", server.url, str(image), str(rate), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ask(server: Running, image: Path, rate: float, seconds: float) -> np.ndarray:
    """(N, 3): when each request was due by CLOCK_MONOTONIC, how long it took, its status."""
    client = start_asking(server, image, rate, seconds)
    output, _ = client.communicate()
    if client.returncode:
        raise RuntimeError(f"benchmarks.open_loop ended with status {client.returncode}.")
    return np.array(json.loads(output)).reshape(-1, 3)


def ask_while(server: Running, image: Path, rate: float, disturb: Callable[[], Iterator[None]]) -> np.ndarray:
    """The same for as long as the disturbance takes, in pieces of PIECE_S."""
    done = threading.Event()

    def go_on_asking() -> np.ndarray:
        pieces = [ask(server, image, rate, PIECE_S)]
        while not done.is_set():
            pieces.append(ask(server, image, rate, PIECE_S))
        return np.concatenate(pieces)

    with ThreadPoolExecutor(1) as pool:
        clients = pool.submit(go_on_asking)
        try:
            for _ in disturb():
                pass
        finally:
            done.set()
        return clients.result()


def publish_aside(bundle: Path, exports: Path) -> None:
    """Copies and checksums in idle time, as a job does that retrains beside a service: `striate retrain --give-way`."""
    code = "import pathlib, sys; from models.store.publish import publish; publish(*map(pathlib.Path, sys.argv[1:]))"
    job = subprocess.Popen([sys.executable, "-c", code, str(bundle), str(exports)])
    give_way(job.pid)  # not by itself: the start of Python is not what is measured
    if job.wait():
        raise RuntimeError(f"The job that publishes ended with status {job.returncode}.")


def wait_for_version(server: Running, number: int) -> None:
    url = server.url.removesuffix("/classify")
    while requests.get(url, timeout=30).json()["live"] != number:
        time.sleep(0.1)


def answering_engine(server: Running, version: int) -> int:
    """The process that runs a version; waits for one that is being started."""
    while True:
        for pid in tree(server.pid):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith(f"engine {version} "):
                    return pid
        time.sleep(0.05)


def summary(rows: np.ndarray) -> dict[str, Any]:
    answered = rows[rows[:, 2] == 200, 1]
    percentiles = {f"p{p}_ms": 1000 * float(np.percentile(answered, p)) for p in (50, 99, 100)} if len(answered) else {}
    return {
        "requests": len(rows),
        "statuses": {str(int(status)): count for status, count in sorted(Counter(rows[:, 2]).items())},
        **percentiles,
    }


def report(found: dict[str, np.ndarray], capacity: float, memory: list[float], deadline_s: float, reloads: int) -> None:
    print(f"capacity {capacity:.0f} images/s; {machine()}")
    for name, rows in found.items():
        figures = summary(rows)
        times = ", ".join(f"{p} {figures.get(f'{p}_ms', float('nan')):.0f} ms" for p in ("p50", "p99", "p100"))
        print(f"{name:<9} {figures['requests']:>6} requests, statuses {figures['statuses']}, {times}")
    steady, reloading = (summary(found[name])["p99_ms"] for name in ("steady", "reloads"))
    print(f"p99 during {reloads} reloads: {reloading / steady:.2f} times the steady one (goal 1.5)")
    print(
        f"memory after them: {memory[1] / memory[0]:.3f} of before (goal 1.05); {memory[0]:.0f} to {memory[1]:.0f} MB"
    )
    overload, due = summary(found["overload"]), found["overload"][:, 0]
    goodput = overload["statuses"].get("200", 0) / float(due.max() - due.min())
    print(f"goodput at {OVERLOAD:g} times capacity: {goodput / capacity:.2f} of it (goal 0.9)")
    print(f"p99 of what was answered then: {overload['p99_ms']:.0f} ms; the deadline is {1000 * deadline_s:.0f}")


if __name__ == "__main__":
    main()
