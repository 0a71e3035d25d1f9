"""How near the service comes to what the machine can do: `python -m benchmarks.serving`.

Rounds of the ceiling (benchmarks.ceiling) and of the service under wrk, in turn, so that a machine whose speed
drifts drifts for both; the ratio is taken round by round and its median is what counts.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.bundles import publish_random
from benchmarks.images import photograph
from benchmarks.processes import first_answer, machine, start_service
from models.preprocessing import InputSpec

WORK = Path("build/bench")
CONNECTIONS = (1, 16)
LATENCY = re.compile(r"(50|99)%\s+([0-9.]+)(us|ms|s)")
UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(1), default=5)
@click.option("--seconds", type=click.FloatRange(1), default=8.0, help="Of each measurement.")
@click.option("--model", default="resnet50", help="Architecture, with random weights, 224x224x3, 1000 classes.")
def main(rounds: int, seconds: float, model: str) -> None:
    """Measure the service against its ceiling with a 500x375 JPEG."""
    WORK.mkdir(parents=True, exist_ok=True)
    image = WORK / "photograph.jpg"
    image.write_bytes(photograph(500, 375, seed=0))
    publish_random(model, InputSpec(224, 224, 3), 1000, WORK / "exports", [image.read_bytes()])
    service, url = start_service(WORK / "exports", WORK / "service.log")
    try:
        first_answer(f"{url}/readyz")
        measured = [
            one_round(WORK / "exports" / model / "1", image, f"{url}/models/{model}/classify", seconds)
            for _ in range(rounds)
        ]
    finally:
        service.terminate()
        service.wait()
    print_table(measured)
    print(
        json.dumps(
            {"benchmark": "serving", "model": model, "seconds": seconds, "machine": machine(), "rounds": measured}
        )
    )


def one_round(bundle: Path, image: Path, url: str, seconds: float) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for connections in CONNECTIONS:
        result[f"ceiling_{connections}"] = run_ceiling(bundle, image, connections, seconds)
        result[f"service_{connections}"] = run_wrk(url, image, connections, seconds)
    return result


def run_ceiling(bundle: Path, image: Path, connections: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ceiling", str(bundle), str(image), str(connections), str(seconds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_wrk(url: str, image: Path, connections: int, seconds: float) -> dict[str, Any]:
    """Requests/s, latency in milliseconds, and how many answers were no 200."""
    script = str(Path(__file__).with_name("post.lua"))
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:.0f}s",
        "--timeout",
        "10s",
        "--latency",
        "-s",
        script,
        url,
    ]
    environment = {**os.environ, "BENCH_IMAGE": str(image)}
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    percentiles = {f"p{p}_ms": float(value) * UNIT_MS[unit] for p, value, unit in LATENCY.findall(text)}
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    assert rate, text
    return {"images_per_s": float(rate[1]), **percentiles, "failed": int(failed[1]) if failed else 0}


def print_table(rounds: list[dict[str, Any]]) -> None:
    def row(name: str, values: list[float], unit: str) -> None:
        print(f"{name:<42}{median(values):>9.2f} {unit:<9} ({min(values):.2f} to {max(values):.2f})")

    print(f"{len(rounds)} rounds, median (lowest to highest); {machine()}; {rounds[0]['ceiling_16']['precision']}")
    ceiling = [r["ceiling_16"]["images_per_s"] for r in rounds]
    service = [r["service_16"]["images_per_s"] for r in rounds]
    row("16 connections: ceiling", ceiling, "images/s")
    row("16 connections: service", service, "images/s")
    row("16 connections: service / ceiling", [s / c for s, c in zip(service, ceiling, strict=True)], "")
    row("16 connections: p50", [r["service_16"]["p50_ms"] for r in rounds], "ms")
    row("16 connections: p99", [r["service_16"]["p99_ms"] for r in rounds], "ms")
    row("1 connection: decode", [r["ceiling_1"]["decode_ms"] for r in rounds], "ms")
    row("1 connection: inference", [r["ceiling_1"]["inference_ms"] for r in rounds], "ms")
    row("1 connection: decode + inference", [r["ceiling_1"]["both_ms"] for r in rounds], "ms")
    row("1 connection: service p50", [r["service_1"]["p50_ms"] for r in rounds], "ms")
    row(
        "1 connection: added by the service",
        [r["service_1"]["p50_ms"] - r["ceiling_1"]["both_ms"] for r in rounds],
        "ms",
    )
    print(f"answers that were no 200: {sum(r[f'service_{c}']['failed'] for r in rounds for c in CONNECTIONS)}")


if __name__ == "__main__":
    main()
