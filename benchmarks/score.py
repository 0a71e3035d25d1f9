"""How near `striate score` comes to what the machine can do: `python -m benchmarks.score`.

Rounds of the ceiling (benchmarks.ceiling) and of a folder scored, in turn, so that a machine whose speed drifts drifts
for both; what counts is the median of their ratios. Loading the model is not counted, reading and writing files is.
"""

import json
import tempfile
from pathlib import Path
from statistics import median

import click

from benchmarks.bundles import publish_random
from benchmarks.ceiling import throughput
from benchmarks.images import photograph
from benchmarks.processes import circumstances, machine
from benchmarks.serving import exports_of
from models.bundle.preprocessing import InputSpec
from service.engine.loading import load
from service.scoring.run import score_images

NUM_PHOTOGRAPHS = 50  # that differ; the folder has copies of them
IN_FLIGHT = 64  # images, at the ceiling: as many as are decoded ahead at the largest batches


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(1), default=5)
@click.option("--images", type=click.IntRange(1), default=3000, help="In the folder.")
@click.option("--seconds", type=click.IntRange(1), default=8, help="Of each measurement of the ceiling.")
@click.option("--model", default="resnet18", help="Architecture, with random weights and 1000 classes.")
@click.option("--side", type=click.IntRange(1), default=224, help="Height and width of its input, in pixels.")
def main(rounds: int, images: int, seconds: int, model: str, side: int) -> None:
    """Measure scoring a folder of 500x375 JPEGs against its ceiling."""
    photographs = [photograph(500, 375, seed=i) for i in range(NUM_PHOTOGRAPHS)]
    exports = exports_of(model, side)
    publish_random(model, InputSpec(side, side, 3), 1000, exports, photographs[:1])
    bundle = exports / model / "1"
    loaded = load(bundle, "openvino", "auto", max_batch_size=32)
    measured = []
    with tempfile.TemporaryDirectory() as work:
        folder = write_folder(Path(work, "images"), photographs, images)
        for _ in range(rounds):
            ceiling = throughput(loaded, photographs[0], loaded.manifest.input_spec, IN_FLIGHT, seconds)
            summary = score_images(bundle, folder, Path(work, "out.parquet"), engine="openvino")
            measured.append({"ceiling": ceiling, "score": summary.images_per_s})
            print(f"ceiling {ceiling:.0f}, score {summary.images_per_s:.0f} images/s", flush=True)
    ratios = [found["score"] / found["ceiling"] for found in measured]
    print(f"{model}, {rounds} rounds of {images:,} images, {machine()}")
    print(f"  score/ceiling: median {median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    result = {"benchmark": "score", "model": model, "side": side, **circumstances()}
    print(json.dumps({**result, "images": images, "rounds": measured}))


def write_folder(folder: Path, photographs: list[bytes], count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:06}.jpg").write_bytes(photographs[i % len(photographs)])
    return folder


if __name__ == "__main__":
    main()
