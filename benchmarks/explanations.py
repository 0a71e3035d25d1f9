"""Whether explanations are true: `python -m benchmarks.explanations RUN DATA`.

Three questions, none of which is about looks:

- A network that was trained on noise with a coloured patch, whose colour is the class, can only look at the patch. In
  what share of images that it has not seen is the strongest place of the map inside? One more class has no patch: else
  the network may take one colour for whatever has no other, and need not look for it.
- Pixels of photographs that the network was not trained on are covered in the order of the map, and uncovered in it
  (deletion and insertion of Petsiuk et al., 2018, https://arxiv.org/abs/1806.07421). How does the probability follow,
  compared with random maps?
- The same with the maps of that network with random weights: they should be no better than random maps.
"""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageFilter

from benchmarks.bundles import publish_random
from benchmarks.processes import circumstances, machine
from models.bundle.manifest import read_manifest
from models.bundle.preprocessing import decode_image
from models.insight.explanation import explain, resized
from models.insight.network import Network

WORK = Path("build/bench/explanations")
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 40), "blue": (50, 60, 230), "yellow": (220, 210, 40)}
NO_PATCH = "nothing"
SIDE, PATCH = 32, 8  # pixels
PER_CLASS, SEEN = 120, 50  # images to train with, and images explained of each class
PLANTED = {"resnet20": "12", "lenet5": "25"}  # networks of either method, and their epochs
STEPS = 16  # of a curve
COARSE = 12  # cells of a random map along each side
FOREVER = float("inf")

Map = Callable[[np.ndarray, int], np.ndarray]  # of an image and a class


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--count", default=60, show_default=True, help="Images of the test to take.")
def main(run: Path, data: Path, count: int) -> None:
    """RUN is of a training on DATA, a folder of photographs."""
    print(f"on {machine()}")
    planted = {name: share_found(name, epochs) for name, epochs in PLANTED.items()}
    for name, found in planted.items():
        print(
            f"patch found by {name}: {found['found']:.1%} of {found['images']} images; by chance {found['chance']:.1%}"
        )
    curves = judge(run / "bundle", tested(run, data, count))
    print(f"{'maps':<20}{'deletion':>9}{'insertion':>10}   insertion less deletion, compared with random maps")
    for name, row in curves.items():
        gain = f"{row['gain']:+.3f} (standard error {row['error']:.3f})"
        print(f"{name:<20}{row['deletion']:>9.3f}{row['insertion']:>10.3f}   {gain}")
    print(json.dumps({"benchmark": "explanations", **circumstances(), "planted": planted, "curves": curves}))


def share_found(architecture: str, epochs: str) -> dict[str, float]:
    """In what share of new images the strongest place is in the patch."""
    drawn = np.random.default_rng(1)
    network = Network(train_on_patches(architecture, epochs))
    hits = []
    class_names = sorted([*COLOURS, NO_PATCH])
    for colour in COLOURS:
        index = class_names.index(colour)
        for _ in range(SEEN):
            image, corner = patched(drawn, colour)
            values = explain(network, image, index, FOREVER, is_multi=False).values
            place = (np.array(np.unravel_index(values.argmax(), values.shape)) + 0.5) * SIDE / np.array(values.shape)
            hits.append(bool(np.all((place >= corner) & (place <= corner + PATCH))))
    return {"found": float(np.mean(hits)), "images": len(hits), "chance": (PATCH / SIDE) ** 2}


def train_on_patches(architecture: str, epochs: str) -> Path:
    """The bundle of a network whose classes are the colours of a patch on noise."""
    folder, exports = WORK / "patches", WORK / "exports"
    bundle = exports / f"patches-{architecture}" / "1"
    if bundle.exists():
        return bundle
    shutil.rmtree(folder, ignore_errors=True)
    drawn = np.random.default_rng(0)
    for colour in (*COLOURS, NO_PATCH):
        (folder / colour).mkdir(parents=True)
        for i in range(PER_CLASS):
            Image.fromarray(patched(drawn, colour)[0]).save(folder / colour / f"{i}.png")
    size = ("--size", str(SIDE), "--int8", "off")
    command = ("fit", "--data", str(folder), "--name", bundle.parent.name, "--model", architecture, "--from", "scratch")
    places = ("--exports", str(exports), "--runs", str(WORK / "runs"), "--cache", str(WORK / "cache"), "--publish")
    command += ("--epochs", epochs, *size, *places)
    subprocess.run([sys.executable, "-m", "training", *command], stdout=subprocess.DEVNULL, check=True)
    return bundle


def patched(drawn: np.random.Generator, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (SIDE, SIDE, 3) of coloured noise with a patch, and the patch's upper left corner."""
    image = drawn.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    corner = drawn.integers(0, SIDE - PATCH + 1, 2)
    row, column = corner
    if colour in COLOURS:
        image[row : row + PATCH, column : column + PATCH] = COLOURS[colour]
    return image, corner


def judge(bundle: Path, photographs: list[Path]) -> dict[str, dict[str, float]]:
    """Areas under the curves of deletion and insertion, and what their difference gains over random maps."""
    manifest, network = read_manifest(bundle), Network(bundle)
    untrained = Network(random_twin(bundle))
    drawn = np.random.default_rng(0)
    without = Network(bundle)
    without.class_activation = None
    maps: dict[str, Map] = {
        "class activation" if network.class_activation else "random masks": map_of(network),
        "random masks": map_of(without),
        "of random weights": map_of(untrained),
        "random": lambda image, index: drawn.random((COARSE, COARSE), np.float32),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in maps}
    for path in photographs:
        image = decode_image(path.read_bytes(), manifest.input_spec)
        index = int(network.probabilities(image[None])[0].argmax())
        for name, compute in maps.items():
            values = resized(compute(image, index), *image.shape[:2])
            found[name].append(curves_of(network, image, values, index))
    random = np.array(found["random"])
    return {name: compared(np.array(rows), random) for name, rows in found.items()}


def tested(run: Path, data: Path, count: int) -> list[Path]:
    """Images of the test, from all classes alike."""
    with (run / "predictions.csv").open(newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    return [data / name for name in names[:: max(1, len(names) // count)][:count]]


def compared(rows: np.ndarray, random: np.ndarray) -> dict[str, float]:
    deletion, insertion = rows.mean(axis=0)
    gains = (rows[:, 1] - rows[:, 0]) - (random[:, 1] - random[:, 0])
    error = gains.std(ddof=1) / len(gains) ** 0.5
    return {"deletion": deletion, "insertion": insertion, "gain": float(gains.mean()), "error": float(error)}


def map_of(network: Network) -> Map:
    return lambda image, index: explain(network, image, index, FOREVER, is_multi=False).values


def random_twin(bundle: Path) -> Path:
    """A bundle of the same network with random weights."""
    manifest, exports = read_manifest(bundle), WORK / f"random-{read_manifest(bundle).architecture}"
    golden = [next((bundle / "assets.extra" / "golden").glob("[0-9]*")).read_bytes()]
    publish_random(manifest.architecture, manifest.input_spec, len(manifest.class_names), exports, golden)
    return exports / manifest.architecture / "1"


def curves_of(network: Network, image: np.ndarray, values: np.ndarray, index: int) -> tuple[float, float]:
    """Mean probability while pixels are covered with the mean colour, and while a blurred image becomes sharp."""
    order = np.argsort(-values.reshape(-1), kind="stable")
    pixels = image.reshape(-1, image.shape[-1])
    radius = image.shape[0] / 20
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius))).reshape(pixels.shape)
    colour = pixels.mean(axis=0).astype(np.uint8)
    images = []
    for step in range(STEPS + 1):
        first = order[: len(order) * step // STEPS]
        covered, sharp = pixels.copy(), blurred.copy()
        covered[first], sharp[first] = colour, pixels[first]
        images += [covered.reshape(image.shape), sharp.reshape(image.shape)]
    probabilities = network.probabilities(np.stack(images))[:, index]
    return float(probabilities[::2].mean()), float(probabilities[1::2].mean())


if __name__ == "__main__":
    main()
