"""How long until the service answers its first image: `python -m benchmarks.startup`."""

import json
from pathlib import Path
from statistics import median

import click

from benchmarks.processes import circumstances, machine
from benchmarks.subjects import ours, running


@click.command(context_settings={"show_default": True})
@click.option("--exports", type=click.Path(path_type=Path, exists=True), default="exports")
@click.option("--model", default="digits")
@click.option("--runs", type=click.IntRange(1), default=10)
def main(exports: Path, model: str, runs: int) -> None:
    """From starting the process to the first classification, as a client sees it."""
    live = json.loads((exports / model / "live.json").read_text())["live"]
    image = (exports / model / str(live) / "assets.extra" / "golden" / "0").read_bytes()
    times = [one_start(exports.absolute(), model, image) for _ in range(runs)]
    print(f"start to first answer of {model}, {runs} starts, {machine()}")
    print(f"  median {median(times):.2f} s  ({min(times):.2f} to {max(times):.2f})")
    print(json.dumps({"benchmark": "startup", "model": model, **circumstances(), "seconds": times}))


def one_start(exports: Path, model: str, image: bytes) -> float:
    with running(ours(exports, model), image, Path("/dev/null")) as server:
        return server.start_s


if __name__ == "__main__":
    main()
