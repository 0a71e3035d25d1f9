"""What a small image costs beside a Flask view that does nothing: `python -m benchmarks.overhead`.

`lenet5` with 28x28 PNGs, where HTTP is most of the work, and the view under the same gunicorn settings, in turn.
"""

import json
import tempfile
from pathlib import Path
from statistics import median

import click

from benchmarks.bundles import publish_random
from benchmarks.images import digit
from benchmarks.processes import circumstances, machine
from benchmarks.serving import WARM_UP_S, WORK, run_wrk
from benchmarks.subjects import Subject, cpu_s, nothing, ours, running
from models.bundle.preprocessing import InputSpec

MODEL = "lenet5"
CONNECTIONS = (1, 16, 64)


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(1), default=5)
@click.option("--seconds", type=click.IntRange(1), default=5, help="Of each measurement.")
def main(rounds: int, seconds: int) -> None:
    """Measure the service with the smallest network against a view that does nothing."""
    exports, image = (WORK / "exports-small").absolute(), WORK / "digit.png"
    exports.mkdir(parents=True, exist_ok=True)
    image.write_bytes(digit())
    publish_random(MODEL, InputSpec(28, 28, 1), 10, exports, [image.read_bytes()])
    found: dict[str, dict[int, list[float]]] = {}
    took: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as metrics:
            for subject in (ours(exports, MODEL), nothing(metrics)):
                rates, milliseconds = measure(subject, image, seconds)
                took.setdefault(subject.name, []).append(milliseconds)
                for connections, rate in rates.items():
                    found.setdefault(subject.name, {}).setdefault(connections, []).append(rate)
    ourselves, view = found.values()
    print(f"{rounds} rounds, medians; {machine()}; CPU of a request: {', '.join(map(cpu_of, took.items()))}")
    print("| connections | Striate, requests/s | a view that does nothing | ratio |")
    print("|---|---|---|---|")
    for connections in CONNECTIONS:
        ratios = [a / b for a, b in zip(ourselves[connections], view[connections], strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {connections} | {median(ourselves[connections]):.0f} | {median(view[connections]):.0f} | {spread} |")
    print(json.dumps({"benchmark": "overhead", **circumstances(), "requests_per_s": found}))


def measure(subject: Subject, image: Path, seconds: int) -> tuple[dict[int, float], float]:
    """Requests/s by connections, and milliseconds of processor time that a request takes at the most of them."""
    with running(subject, image.read_bytes(), WORK / "overhead.log") as server:
        run_wrk(subject, server.url, image, CONNECTIONS[-1], WARM_UP_S)
        rates = {}
        for connections in CONNECTIONS:
            before = cpu_s(server.pid)
            rates[connections] = run_wrk(subject, server.url, image, connections, seconds)["images_per_s"]
        return rates, 1000 * (cpu_s(server.pid) - before) / (rates[CONNECTIONS[-1]] * seconds)


def cpu_of(named: tuple[str, list[float]]) -> str:
    return f"{named[0]} {median(named[1]):.2f} ms"


if __name__ == "__main__":
    main()
