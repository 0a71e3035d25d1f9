"""Who notices that answers are explained: `python -m benchmarks.explaining`.

Good requests come at half of the rate that the service can answer, and a client has images explained without pause: by
class activation maps, and by random masks. The good ones' 99th percentile is compared with that of the same load
undisturbed, before and after each.
"""

import json
import threading
import time
from collections import Counter
from pathlib import Path

import click
import numpy as np
import requests

from benchmarks.bundles import publish_random
from benchmarks.faults import LOAD, WARM_S, ask, measure_capacity, summary
from benchmarks.images import photograph
from benchmarks.processes import circumstances, machine
from benchmarks.serving import WORK, exports_of
from benchmarks.subjects import Running, ours, running
from models.bundle.preprocessing import InputSpec
from models.process.idle import give_way

METHODS = {"resnet18": "class_activation", "alexnet": "random_masks"}  # by the network that has it


@click.command(context_settings={"show_default": True})
@click.option("--model", "models", multiple=True, default=tuple(METHODS), help="Network, with random weights.")
@click.option("--side", type=click.IntRange(1), default=224, help="Height and width of its input, in pixels.")
@click.option("--seconds", type=click.IntRange(1), default=15, help="Of each measurement.")
@click.option("--rounds", type=click.IntRange(1), default=3)
def main(models: tuple[str, ...], side: int, seconds: int, rounds: int) -> None:
    """Have images explained beside good requests, and time both."""
    WORK.mkdir(parents=True, exist_ok=True)
    image = WORK / "photograph.jpg"
    image.write_bytes(photograph(500, 375, seed=0))
    found = {model: measure(model, side, image, seconds, rounds) for model in models}
    print(f"p99 of good requests on {machine()}, and explanations beside them")
    for model, row in found.items():
        ratios = f"{np.median(row['ratios']):.2f} times ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})"
        print(f"{model}, {row['rate']:.0f}/s: {row['undisturbed_ms']:.0f} ms, then {ratios}; failed {row['failed']}")
        print(f"    explained {row['explained']}; each took {row['explanation_s']:.2f} s")
    print(json.dumps({"benchmark": "explaining", **circumstances(), **found}))


def measure(model: str, side: int, image: Path, seconds: int, rounds: int) -> dict[str, object]:
    exports = exports_of(model, side)
    publish_random(model, InputSpec(side, side, 3), 1000, exports, [image.read_bytes()])
    rate = LOAD * measure_capacity(ours(exports, model), image)
    with running(ours(exports, model), image.read_bytes(), WORK / "explaining.log") as server:
        ask(server, image, rate, WARM_S)
        quiet, ratios, failed, answers = [ask(server, image, rate, seconds)], [], 0, list[tuple[int, float]]()
        for _ in range(rounds):
            disturbed, explained = ask_beside(server, image, rate, seconds)
            quiet.append(ask(server, image, rate, seconds))
            ratios.append(p99(disturbed) / p99(np.concatenate(quiet[-2:])))
            failed += int((disturbed[:, 2] != 200).sum())
            answers += explained
    statuses = Counter(status for status, _ in answers)
    return {
        "rate": rate,
        "undisturbed_ms": p99(np.concatenate(quiet)),
        "ratios": ratios,
        "failed": failed,
        "explained": {str(status): count for status, count in sorted(statuses.items())},
        "explanation_s": float(np.median([took for status, took in answers if status == 200] or [0])),
    }


def p99(rows: np.ndarray) -> float:
    """In milliseconds."""
    return float(summary(rows)["p99_ms"])


def ask_beside(server: Running, image: Path, rate: float, seconds: float) -> tuple[np.ndarray, list[tuple[int, float]]]:
    """The good requests as `ask` has them, and the statuses and seconds of explanations meanwhile."""
    url, data = server.url.replace("/classify", "/explain"), image.read_bytes()
    done, answers = threading.Event(), list[tuple[int, float]]()

    def explain() -> None:
        give_way()  # a client elsewhere would not take this machine's time
        while not done.is_set():
            began = time.monotonic()
            status = requests.post(url, data=data, timeout=60).status_code
            answers.append((status, time.monotonic() - began))

    client = threading.Thread(target=explain)
    client.start()
    try:
        return ask(server, image, rate, seconds), answers
    finally:
        done.set()
        client.join()


if __name__ == "__main__":
    main()
