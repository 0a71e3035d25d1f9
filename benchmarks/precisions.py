"""How many images a second the service's engine answers, in each precision that it has here.

    python -m benchmarks.precisions efficientnet_lite2 resnet50 exports/pets/3

A network's name stands for random weights, its paper's input and 1,000 classes, also in 8 bits; a path for a bundle
with what it has. Batches of 8, without decoding and HTTP; the measurements take turns, so that what else the machine
does meets all of them. Prints the median, and the range over the rounds; or why the service refuses a precision.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import numpy as np

from benchmarks.bundles import publish_in_8_bits, publish_random
from benchmarks.images import photograph
from benchmarks.processes import circumstances
from models.bundle.preprocessing import InputSpec
from models.networks.registry import architecture_of

BATCH_SIZE, NUM_CLASSES = 8, 1000
ROUNDS = 5


@click.command()
@click.argument("subjects", nargs=-1, required=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
def main(subjects: tuple[str, ...], seconds: float) -> None:
    """Measure SUBJECTS: names of networks, or bundles."""
    from service.engine.loading import Unfaithful, load
    from service.engine.openvino import OpenVINO

    with tempfile.TemporaryDirectory() as work:
        loaded, refused = {}, {}
        for subject in subjects:
            bundle = Path(subject) if Path(subject).is_dir() else in_8_bits(subject, Path(work))
            for precision in OpenVINO.precisions(bundle):
                name = f"{subject}, {precision}"
                try:
                    loaded[name] = load(bundle, "openvino", precision, max_batch_size=BATCH_SIZE)
                except Unfaithful as error:
                    refused[name] = str(error)
        speeds: dict[str, list[float]] = {name: [] for name in loaded}
        for _ in range(ROUNDS):
            for name, found in loaded.items():
                shape = (BATCH_SIZE, *found.manifest.input_spec.shape)
                images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
                speeds[name].append(speed(found.backend.infer, images, seconds))
    rows = {
        name: {"images_per_s": round(median(values), 1), "least": round(min(values), 1), "most": round(max(values), 1)}
        for name, values in speeds.items()
    }
    click.echo(json.dumps({"batch_size": BATCH_SIZE, "subjects": rows, "refused": refused, **circumstances()}))


def in_8_bits(network: str, work: Path) -> Path:
    """A bundle of random weights that has 8 bits as well."""
    height, width, channels = architecture_of(network).input_shape
    pictures = [photograph(width + 50, height + 50, seed=seed) for seed in range(40)]
    publish_random(network, InputSpec(height, width, channels), NUM_CLASSES, work / "exact", pictures[:3])
    publish_in_8_bits(work / "exact" / network / "1", pictures, work / "int8")
    return work / "int8" / network / "1"


def speed(infer: Callable[[np.ndarray], np.ndarray], images: np.ndarray, seconds: float) -> float:
    """Images/s."""
    infer(images)
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        infer(images)
        count += len(images)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
