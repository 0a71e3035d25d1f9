"""How fast images are classified over HTTP, by us and by others: `python -m benchmarks.serving --peers-python PYTHON`.

Rounds of the ceiling (benchmarks.ceiling), of the service and of each peer (benchmarks.peers) under wrk, in turn, so
that a machine whose speed drifts drifts for all; ratios are taken round by round, and their median is what counts.
Everybody gets the same 500x375 JPEG, the same network with random weights, and answers the five most probable classes.
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

from benchmarks.bundles import publish_in_8_bits, publish_random
from benchmarks.images import photograph
from benchmarks.processes import circumstances, machine
from benchmarks.subjects import ENGINES, Subject, cpu_s, memory_mb, ours, peers, request_of, running, triton
from models.bundle.preprocessing import InputSpec
from models.store.live import read_live

WORK = Path("build/bench")
MODEL, SIDE = "resnet50", 224
RESULTS = Path(__file__).with_name("results") / "serving.json"  # of a complete run; of others WORK / "serving.json"
LATENCY = re.compile(r"(50|99)%\s+([0-9.]+)(us|ms|s|m)\b")
UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
BUSY = 16  # connections at which processor time and memory are taken
WARM_UP_S = 2
CONNECTIONS = "1,4,16,64"
NUM_CALIBRATION = 60  # images: the network is random, and only its speed counts


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--seconds", type=click.IntRange(1), default=8, help="Of each measurement.")
@click.option("--model", default=MODEL, help="Architecture, with random weights and 1000 classes.")
@click.option("--side", type=click.IntRange(1), default=SIDE, help="Height and width of its input, in pixels.")
@click.option("--connections", default=CONNECTIONS, help="Separated by commas.")
@click.option("--int8", is_flag=True, help="The same network in 8 bits, too.")
@click.option("--peers-python", help="A Python that has benchmarks/peers/requirements.txt; without it only ourselves.")
@click.option("--triton-python", help="A Python that has benchmarks/peers/requirements-triton.txt.")
@click.option("--exports", type=click.Path(path_type=Path), help="Published models: --model of them instead, trained.")
@click.option("--image", type=click.Path(path_type=Path), help="A file instead of the 500x375 JPEG.")
@click.option("--only", multiple=True, help="Only peers in whose names this is; may be given again.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"A JSON file. [default: benchmarks/results/serving.json of every server with --model {MODEL}, --int8 and all "
    f"connections; {WORK}/serving.json of anything less]",
)
def main(
    rounds: int,
    seconds: int,
    model: str,
    side: int,
    connections: str,
    int8: bool,
    peers_python: str | None,
    triton_python: str | None,
    exports: Path | None,
    image: Path | None,
    only: tuple[str, ...],
    output: Path | None,
) -> None:
    """Measure the service against its ceiling and against other servers with a 500x375 JPEG."""
    WORK.mkdir(parents=True, exist_ok=True)
    given = bool(exports or image)
    if image is None:
        image = WORK / "photograph.jpg"
        image.write_bytes(photograph(500, 375, seed=0))
    if exports is None:
        exports = exports_of(model, side)  # of its own: nothing else is loaded
        publish_random(model, InputSpec(side, side, 3), 1000, exports, [image.read_bytes()])
    exports = exports.absolute()
    bundle = exports / model / str(read_live(exports / model).live)
    subjects = [ours(exports, model)]
    if int8:
        in_8_bits = exports.with_name(f"{exports.name}-int8")
        publish_in_8_bits(bundle, [photograph(500, 375, seed=i) for i in range(NUM_CALIBRATION)], in_8_bits)
        subjects.append(ours(in_8_bits, model, name="Striate, int8"))
    if peers_python:
        subjects += [peer for peer in peers(peers_python, bundle) if is_wanted(peer, only)]
    if triton_python:
        subjects += [peer for peer in triton(triton_python, bundle) if is_wanted(peer, only)]
    counts = [int(count) for count in connections.split(",")]
    measured = []
    for number in range(1, rounds + 1):
        found = {"ceiling": {count: run_ceiling(bundle, image, count, seconds) for count in counts}}
        for subject in subjects:
            found[subject.name] = measure(subject, image, counts, seconds)
            print_progress(number, subject.name, found[subject.name])
        measured.append(found)
    print_table(measured, counts)
    if BUSY in counts:
        print_ratios(measured)
    usual = not given and (model, side, connections) == (MODEL, SIDE, CONNECTIONS)
    of_everything = usual and int8 and peers_python and not only
    if output is None:
        output = RESULTS if of_everything and not any_failed(measured) else WORK / "serving.json"
    result = {**circumstances(), "model": model, "side": side, "seconds": seconds}
    output.write_text(json.dumps({**result, "rounds": measured}, indent=1) + "\n")
    print(json.dumps({"benchmark": "serving", **result, "results": str(output)}))


def is_wanted(peer: Subject, only: tuple[str, ...]) -> bool:
    return not only or any(part in peer.name for part in only)


def exports_of(model: str, side: int) -> Path:
    """Where a network with random weights is published."""
    return (WORK / f"exports-{model}-{side}").absolute()


def any_failed(rounds: list[dict[str, Any]]) -> bool:
    """Whether a server could not be started in any round."""
    return any("error" in found for measured in rounds for found in measured.values())


def measure(subject: Subject, image: Path, counts: list[int], seconds: int) -> dict[Any, Any]:
    """By connections: images/s, latency, errors; and what it took. An error where it could not be started."""
    log = WORK / f"{re.sub(r'[^a-z]+', '-', subject.name.lower())}.log"
    try:
        with running(subject, image.read_bytes(), log) as server:
            found: dict[Any, Any] = {"start_s": server.start_s}
            run_wrk(subject, server.url, image, BUSY, WARM_UP_S)
            for count in counts:
                before = cpu_s(server.pid)
                found[count] = run_wrk(subject, server.url, image, count, seconds)
                answered = max(1.0, found[count]["images_per_s"] * seconds)
                found[count]["cpu_ms"] = 1000 * (cpu_s(server.pid) - before) / answered
            found["memory_mb"] = memory_mb(server.pid)
            return found
    except TimeoutError as error:
        return {"error": f"{error} See {log}."}


def run_ceiling(bundle: Path, image: Path, connections: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ceiling", str(bundle), str(image), str(connections), str(seconds)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def run_wrk(subject: Subject, url: str, image: Path, connections: int, seconds: int) -> dict[str, Any]:
    """Requests/s, latency in milliseconds, and how many answers were no 200 or did not come."""
    body, headers = request_of(subject, image.read_bytes())
    (WORK / "body").write_bytes(body)
    script = str(Path(__file__).with_name("post.lua"))
    flags = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", script]
    head = "".join(f"{name}: {value}\n" for name, value in headers.items())
    environment = {**os.environ, "BENCH_BODY": str(WORK / "body"), "BENCH_HEADERS": head}
    text = subprocess.run(["wrk", *flags, url], check=True, capture_output=True, text=True, env=environment).stdout
    percentiles = {f"p{p}_ms": float(value) * UNIT_MS[unit] for p, value, unit in LATENCY.findall(text)}
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    assert rate, text
    return {"images_per_s": float(rate[1]), **percentiles, "failed": failed}


def print_progress(number: int, name: str, found: dict[Any, Any]) -> None:
    rates = ", ".join(f"{key}: {row['images_per_s']:.0f}" for key, row in found.items() if isinstance(key, int))
    print(f"round {number}: {name}: {found.get('error') or rates}", file=sys.stderr, flush=True)


def print_table(rounds: list[dict[str, Any]], counts: list[int]) -> None:
    """A row a subject and number of connections; each figure is the median over the rounds."""
    print(f"{len(rounds)} rounds, medians; {machine()}; ours in {rounds[0]['ceiling'][counts[0]]['precision']}")
    print("| server | connections | images/s | p50 ms | p99 ms | failed | CPU ms an image | of ours |")
    print("|---|---|---|---|---|---|---|---|")
    for count in counts:
        for name in rounds[0]:
            rows = [found[name].get(count) for found in rounds]
            if any(row is None or "images_per_s" not in row for row in rows):
                continue
            ratios = [found[name][count]["images_per_s"] / found["Striate"][count]["images_per_s"] for found in rounds]
            spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            cells = [middle(rows, key) for key in ("images_per_s", "p50_ms", "p99_ms", "failed", "cpu_ms")]
            print(f"| {name} | {count} | {' | '.join(cells)} | {spread} |")
    alone = [found["ceiling"][1] for found in rounds if 1 in found["ceiling"]]
    if alone:
        added = [r["Striate"][1]["p50_ms"] - r["ceiling"][1]["both_ms"] for r in rounds]
        both = median(row["both_ms"] for row in alone)
        print(
            f"1 connection: decode and inference {both:.2f} ms; the service adds {median(added):.2f} "
            f"({min(added):.2f} to {max(added):.2f})"
        )
    for name in rounds[0]:
        if name != "ceiling":
            start, memory = (middle([found[name] for found in rounds], key) for key in ("start_s", "memory_mb"))
            print(f"{name}: first answer after {start} s, {memory} MB" + rounds[0][name].get("error", ""))


def print_ratios(rounds: list[dict[str, Any]]) -> None:
    """How many times as fast we are at 16 connections as the ceiling and as the best peer with each engine."""
    rivals = {"the ceiling": ["ceiling"]}
    for engine in ENGINES:
        rivals[f"the best peer with {engine}"] = [
            name
            for name in rounds[0]
            if name.endswith(f", {engine}") and all(BUSY in found[name] for found in rounds)  # else it failed
        ]
    for ourselves in (name for name in rounds[0] if name.startswith("Striate")):
        for title, names in rivals.items():
            rates = {name: [found[name][BUSY]["images_per_s"] for found in rounds] for name in names}
            if rates:
                best = max(rates, key=lambda name: median(rates[name]))
                ratios = [
                    found[ourselves][BUSY]["images_per_s"] / rate
                    for found, rate in zip(rounds, rates[best], strict=True)
                ]
                spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                print(f"{ourselves} at {BUSY} connections: {spread} times {title} ({best})")


def middle(rows: list[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows if key in row]
    return f"{median(values):.1f}" if values else ""


if __name__ == "__main__":
    main()
