"""How fast each network trains and answers here, as a table: `python -m benchmarks.networks`.

Each network is measured in a process of its own, at its paper's input, on random images. `--page` writes the page anew
from benchmarks/results/networks.json without measuring.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from benchmarks.processes import circumstances, machine
from models.process.quiet import import_quietly

RESULTS = Path(__file__).parent / "results" / "networks.json"
PAGE = Path(__file__).parent / "results" / "networks.md"  # docs/understand/benchmarks.md has its rows
SMALL = 64  # pixels; up to here a batch of training is BATCH_SIZES[0]
BATCH_SIZES = (64, 8)
INFERENCE_BATCH_SIZE = 8
SECONDS = 4.0  # of each measurement, after warming up
WARMUP_STEPS = 3
HEADER = """\
# The networks

Made by `python -m benchmarks.networks` on {date}. Parameters are the trained ones; multiply-accumulates (MACs) count
convolutions and dense layers for one image; both at the paper's input. `striate describe NAME` shows each
layer, and each file in `models/` where a network departs from its paper.

All take pixels scaled to [-1, 1], unless they start from weights that were trained with another scaling. Those with
`_bn` in their names are after a paper, and in none. `resnet50_v1` and the like stride in the first 1x1 of a bottleneck,
as the paper has it and as the weights of keras.applications need it; the others stride in the 3x3, as torchvision's do.

Speeds are images/s on {machine}, no GPU; the machine is shared and drifts by a third, so only ratios count.
*Training* is the median optimiser step of the recipe `default` on a batch in memory, of {small} images (up to 64
pixels) or {large}, in the precision that `--precision auto` chooses; *inference* is OpenVINO on batches of {inference}
in {precision}, without decoding. Not measured on a GPU.

| network | paper | input | classes | parameters | MACs | training | inference |
|---|---|---|---|---|---|---|---|
"""


@click.command()
@click.argument("names", nargs=-1)
@click.option("--page", is_flag=True, help="Write the page from what was measured before.")
@click.option("--seconds", default=SECONDS, show_default=True, help="Of each measurement, after warming up.")
@click.option("--one", is_flag=True, hidden=True, help="Measure one network in this process and print it as JSON.")
def main(names: tuple[str, ...], page: bool, seconds: float, one: bool) -> None:
    """Measure NAMES, or every network, and write benchmarks/results/networks.md."""
    import_quietly("keras")
    from models.networks.registry import ARCHITECTURES, architecture_of

    if one:
        click.echo(json.dumps(measure(names[0], seconds)))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    chosen = [architecture_of(name).name for name in names or ARCHITECTURES]  # a misspelt name is an error at once
    for name in () if page else chosen:
        command = [sys.executable, "-m", "benchmarks.networks", "--one", name, "--seconds", str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[name] = json.loads(done.stdout.splitlines()[-1])
        training, inference = results[name]["training"], results[name]["inference"]
        click.echo(f"{name:<16} training {training:>8,.1f}  inference {inference:>8,.1f} images/s")
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if not results:
        raise click.UsageError(f"{RESULTS} holds no measurements; leave out --page.")
    PAGE.write_text(render(results), encoding="utf-8")
    click.echo(json.dumps({"machine": machine(), "networks": len(results)}))


def measure(name: str, seconds: float) -> dict[str, Any]:
    """Images/s of training and of inference."""
    from models.bundle.manifest import GOLDEN, Manifest
    from models.bundle.preprocessing import InputSpec
    from models.networks.registry import ARCHITECTURES, build
    from service.engine.openvino import OpenVINO
    from service.engine.pace import AT_ONCE
    from training.config.settings import resolve_precision, settings_for
    from training.data.decoded import FILE, DecodedImages
    from training.data.duplicates import THUMBNAIL
    from training.data.path_table import Paths
    from training.export.export import REQUEST, WEIGHTS
    from training.export.saved_model import write_saved_model
    from training.network.build import compile_for, trainable
    from training.network.losses import loss_for

    entry = ARCHITECTURES[name]
    batch_size = BATCH_SIZES[entry.input_shape[0] > SMALL]
    rng = np.random.default_rng(0)
    decoded = DecodedImages(
        class_names=tuple(map(str, range(entry.num_classes))),
        images=rng.integers(0, 256, (batch_size, *entry.input_shape), dtype=np.uint8),
        labels=rng.integers(0, entry.num_classes, batch_size),
        files=np.zeros(batch_size, FILE),
        thumbnails=np.zeros((batch_size, THUMBNAIL, THUMBNAIL), np.uint8),
        paths=Paths.of([]),
        unreadable={},
    )
    settings = settings_for(entry, batch_size=batch_size)
    exact = build(entry.name, input_shape=entry.input_shape, num_classes=entry.num_classes)
    precision, _ = resolve_precision("auto", exact.count_params(), depthwise=entry.depthwise)
    model = trainable(decoded, settings, precision)
    loss = loss_for(settings, decoded.labels, entry.num_classes)
    compile_for(model, settings, loss, num_steps=1000, steps_per_epoch=100)
    training = batch_size / seconds_of(lambda: model.train_on_batch(decoded.images, decoded.labels), seconds)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        spec = InputSpec(*entry.input_shape, "crop")
        manifest = Manifest("speed", name, decoded.class_names, spec, metrics={})
        (run / "bundle" / GOLDEN).mkdir(parents=True)
        (run / REQUEST).write_text(json.dumps(manifest.to_json()))
        exact.save_weights(run / WEIGHTS)
        write_saved_model(run)
        bundle = run / "bundle"
        backend = OpenVINO(bundle, OpenVINO.precisions(bundle)[0], AT_ONCE)
    images = np.resize(decoded.images, (INFERENCE_BATCH_SIZE, *entry.input_shape))
    inference = INFERENCE_BATCH_SIZE / seconds_of(lambda: backend.infer(images), seconds)
    return {
        "training": training,
        "training_precision": precision,
        "inference": inference,
        "inference_precision": backend.precision,
        **circumstances(),
    }


def seconds_of(step: Callable[[], Any], seconds: float) -> float:
    """The median step."""
    for _ in range(WARMUP_STEPS):
        step()
    durations: list[float] = []
    while sum(durations) < seconds or len(durations) < WARMUP_STEPS:
        started = time.perf_counter()
        step()
        durations.append(time.perf_counter() - started)
    return median(durations)


def render(results: dict[str, dict[str, Any]]) -> str:
    """The page, with a row for each network."""
    from models.networks.registry import ARCHITECTURES
    from models.networks.summary import describe, outline

    (some, *_) = results.values()
    dates, machines = ({result[key] for result in results.values()} for key in ("date", "machine"))
    small, large = BATCH_SIZES
    page = HEADER.format(
        date=" and ".join(sorted(dates)),
        machine=" or ".join(sorted(machines)),
        small=small,
        large=large,
        inference=INFERENCE_BATCH_SIZE,
        precision=some["inference_precision"],
    )
    for name, entry in ARCHITECTURES.items():
        table, result = describe(outline(name)), results.get(name, {})
        paper = f"[{entry.paper}]({entry.paper.url})" if entry.paper.url else str(entry.paper)
        height, width, channels = entry.input_shape
        page += (
            f"| `{name}` | {paper} | {height}x{width}x{channels} | {entry.num_classes} | "
            f"{table.trained_parameters:,} | {short(table.macs)} | {speed(result.get('training'))} | "
            f"{speed(result.get('inference'))} |\n"
        )
    return page


def speed(images_per_s: float | None) -> str:
    """Whole images, or a digit behind the point where there are few; a dash where none was measured."""
    if images_per_s is None:
        return "–"
    return f"{images_per_s:,.0f}" if images_per_s >= 100 else f"{images_per_s:.1f}"


def short(macs: int) -> str:
    """Three digits and a unit."""
    return f"{macs / 1e9:.3g} G" if macs >= 1e9 else f"{macs / 1e6:.3g} M"


if __name__ == "__main__":
    main()
