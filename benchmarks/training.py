"""How fast a training step is: `python -m benchmarks.training [--torch-python PYTHON]`.

Rounds of our step, as `fit` takes it, and of PyTorch's on the same network and batch, in turn, so that a machine whose
speed drifts drifts for both; the ratio is taken round by round and its median is what counts. Then how many augmented
images a second the cache delivers.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import click
import numpy as np

from benchmarks.processes import circumstances

CASES = (("fast_cnn_relu", 32, 512), ("resnet18", 224, 32))  # network, side, images in a batch
TORCH = Path(__file__).with_name("torch_step.py")
NUM_INPUT_IMAGES = 20_000


@click.command(context_settings={"show_default": True})
@click.option("--torch-python", help="A Python that has PyTorch; without it only our own steps are measured.")
@click.option("--rounds", type=click.IntRange(1), default=5)
@click.option("--steps", type=click.IntRange(1), default=10, help="Of each measurement, after three.")
def main(torch_python: str | None, rounds: int, steps: int) -> None:
    """Measure training steps against PyTorch's, in bfloat16, and the input path against the fastest network."""
    results = []
    for network, side, batch_size in CASES:
        commands = {"striate": [sys.executable, "-m", "benchmarks.training_step"]}
        if torch_python:
            commands["pytorch"] = [torch_python, str(TORCH)]
        case = [network, str(side), str(batch_size), str(steps)]
        measured = [
            {name: images_per_s([*command, *case], batch_size) for name, command in commands.items()}
            for _ in range(rounds)
        ]
        results.append({"network": network, "side": side, "batch_size": batch_size, "rounds": measured})
        print(f"{network} at {side}, batch {batch_size}: {described(measured)}", flush=True)
    delivered = dict(input_speeds())
    for augmentation, speed in delivered.items():
        print(f"input, augmentation of {augmentation}: {speed:,.0f} images/s of 32x32")
    print(json.dumps({"benchmark": "training", **circumstances(), "cases": results, "input": delivered}))


def described(rounds: list[dict[str, float]]) -> str:
    """The median of each side, and of their ratio."""
    ours = f"{median(found['striate'] for found in rounds):,.0f} images/s"
    if "pytorch" not in rounds[0]:
        return ours
    theirs = median(found["pytorch"] for found in rounds)
    ratios = sorted(found["striate"] / found["pytorch"] for found in rounds)
    return f"{ours}, PyTorch {theirs:,.0f}; ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def images_per_s(command: list[str], batch_size: int) -> float:
    """Of a process that prints seconds per step."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return batch_size / median(float(line) for line in done.stdout.splitlines())


def input_speeds() -> Iterator[tuple[str, float]]:
    """Augmented batches of a mapped cache, made in one thread as `fit` makes them."""
    from tests.training.decoded import decoded_images
    from training.augment.loader import TrainingBatches
    from training.config.augmentation import Augmentation

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_INPUT_IMAGES, 32, 32, 3), np.uint8)
    decoded = decoded_images(images, np.arange(NUM_INPUT_IMAGES) % 10)
    recipes = {
        "default": Augmentation(),
        "fast-cifar": Augmentation(alternate=True, shift=0.0625, contrast=0, brightness=0),
    }
    for name, augmentation in recipes.items():
        rows = np.arange(NUM_INPUT_IMAGES)
        batches = TrainingBatches(decoded, rows, batch_size=512, seed=0, augmentation=augmentation)
        started_s = time.perf_counter()
        count = sum(len(labels) for epoch in range(3) for _, labels in batches.rest_of_epoch(epoch))
        yield name, count / (time.perf_counter() - started_s)


if __name__ == "__main__":
    main()
