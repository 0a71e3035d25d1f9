"""How many images a second are answered within the objective: `python -m benchmarks.objective --exports EXPORTS`.

Requests come at a fixed rate (benchmarks.open_loop), which is raised until one in a hundred takes longer
than the objective or one in a thousand fails. Measured are one service with all cores, one service with one core, and
two services with one core each behind nginx, which has the file of deploy/proxies. The client and nginx take their
processor time from the same cores. Rounds alternate, so that a machine whose speed drifts drifts for all.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import requests

from benchmarks.faults import ask, summary
from benchmarks.processes import circumstances, machine
from benchmarks.subjects import ROOT, Running, end, free_port, ours, running
from models.store.default import read_default
from models.store.live import read_live

WORK = Path("build/bench")
SECONDS = 8.0  # of each rate
FAILED = 0.001  # share of requests
STEP = 1.15  # between two rates


@click.command(context_settings={"show_default": True})
@click.option("--exports", type=click.Path(path_type=Path, exists=True), required=True, help="A trained model's.")
@click.option("--objective-s", type=float, default=0.2, help="In which 99 of 100 images are to be answered.")
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--first-rate", type=float, default=20.0, help="Images a second, to begin with.")
def main(exports: Path, objective_s: float, rounds: int, first_rate: float) -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    name = read_default(exports)
    assert name is not None
    bundle = exports / name / str(read_live(exports / name).live)
    image = next(path for path in sorted((bundle / "assets.extra" / "golden").iterdir()) if path.suffix != ".json")
    cores = sorted(os.sched_getaffinity(0))
    ways = {"one service, all cores": [cores], "one service, one core": [cores[:1]]}
    if len(cores) > 1:
        ways["two services, one core each"] = [cores[:1], cores[1:2]]
    found: dict[str, list[float]] = {way: [] for way in ways}
    start = first_rate
    for number in range(rounds):
        for way, groups in ways.items():
            with services(exports, name, image, groups) as server:
                found[way].append(highest_rate(server, image, start, objective_s))
            click.echo(f"round {number + 1}: {way}: {found[way][-1]:.0f} images/s", err=True)
    print(f"{name}, {image.stat().st_size:,} bytes an image, objective {objective_s:g} s; {machine()}")
    print("| way | images/s, median | least | most |\n|---|---|---|---|")
    for way, rates in found.items():
        print(f"| {way} | {median(rates):.0f} | {min(rates):.0f} | {max(rates):.0f} |")
    result = {"benchmark": "objective", "model": name, "objective_s": objective_s, **circumstances(), "rates": found}
    (WORK / "objective.json").write_text(json.dumps(result, indent=1) + "\n")


@contextlib.contextmanager
def services(exports: Path, name: str, image: Path, groups: list[list[int]]) -> Iterator[Running]:
    """One service for each group of cores; several are behind nginx."""
    with contextlib.ExitStack() as stack:
        started = []
        for number, cores in enumerate(groups):
            subject = ours(exports, name)
            pinned = ("taskset", "--cpu-list", ",".join(map(str, cores)), *subject.command)
            log = WORK / f"objective-{number}.log"
            started.append(stack.enter_context(running(replace(subject, command=pinned), image.read_bytes(), log)))
        if len(started) == 1:
            yield started[0]
        else:
            yield stack.enter_context(behind_nginx(started))


@contextlib.contextmanager
def behind_nginx(servers: list[Running]) -> Iterator[Running]:
    """As in deploy/proxies/nginx.conf, without TLS, which costs the same with one service as with two."""
    port, path = free_port(), servers[0].url.split("/", 3)[3]
    text = (ROOT / "deploy" / "proxies" / "nginx.conf").read_text()
    upstreams = " ".join(f"server {server.url.split('/')[2]};" for server in servers)
    text = text.replace("server 127.0.0.1:8000;", upstreams, 1)
    text = "\n".join(line for line in text.splitlines() if "ssl_certificate" not in line)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace("/var/log/nginx", "/tmp")
    with tempfile.TemporaryDirectory() as folder:
        paths = "".join(f"{n}_temp_path {folder}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = Path(folder) / "nginx.conf"
        config.write_text(f"pid {folder}/pid; events {{}} http {{ {paths} {text} }}")
        process = subprocess.Popen(["nginx", "-c", config, "-e", f"{folder}/error.log", "-g", "daemon off; user root;"])
        try:
            url = f"http://127.0.0.1:{port}"
            while True:
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(f"{url}/readyz", headers={"Host": "vision.example.org"}, timeout=5)
                    break
                time.sleep(0.05)
            yield Running(f"{url}/{path}", process.pid, 0.0)
        finally:
            end(process)


def highest_rate(server: Running, image: Path, rate: float, objective_s: float) -> float:
    """The highest rate of images a second at which the objective is met; 0 where the first is too high."""
    ask(server, image, rate, SECONDS / 2)  # warm up
    met = 0.0
    while True:
        rows = ask(server, image, rate, SECONDS)
        figures = summary(rows)
        failed = 1 - figures["statuses"].get("200", 0) / figures["requests"]
        if failed > FAILED or figures.get("p99_ms", float("inf")) > 1000 * objective_s:
            return met
        met, rate = rate, rate * STEP


if __name__ == "__main__":
    main()
