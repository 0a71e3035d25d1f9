"""Few images of each class: what Striate makes of them beside what people use instead, on the same images.

    python -m benchmarks.transfer FOLDER --per-class 10

From a folder of classes, so many images of each are drawn to learn from, and others to answer; a seed is a draw.
All start from the same published weights. The others have images of the size of the pretraining, squashed as ours are;
ours have the defaults of `fit`. Prints accuracy and calibration error, mean and range over the seeds, and seconds.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console

from benchmarks.processes import circumstances
from models.process.quiet import import_quietly

if TYPE_CHECKING:
    from training.data.dataset import Data
    from training.fit.fit import Trained

CACHE = Path(".cache")
OURS = {"Striate, head": "head", "Striate, head and tail": "tail"}
Answers = tuple[np.ndarray, np.ndarray]  # probabilities (N, num_classes) of images, labels (N,)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--per-class", default=10, show_default=True, help="Images of each class to learn from.")
@click.option("--asked", default=1000, show_default=True, help="Most images to answer.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--network", default="efficientnet_lite2", show_default=True)
@click.option("--flip/--no-flip", default=True, help="Whether ours may mirror images; a mirrored digit is no digit.")
@click.option("--only", multiple=True, help="Methods whose names begin with this; again for more.")
def main(folder: Path, per_class: int, asked: int, seeds: int, network: str, flip: bool, only: tuple[str, ...]) -> None:
    """Draw images of each class of FOLDER, let every method learn from them, and judge its answers to others."""
    import_quietly("keras")
    from benchmarks.transfer_peers import PEERS
    from training.evaluate.metrics import expected_calibration_error

    found: dict[str, list[tuple[float, float, float]]] = {}
    for name in (*OURS, *PEERS):
        if only and not name.startswith(only):
            continue
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as drawn:
                draw(folder, Path(drawn), per_class, asked, seed)
                began = time.perf_counter()
                probabilities, labels = answer(name, Path(drawn), network, seed, flip=flip)
                seconds = time.perf_counter() - began
            accuracy = float((probabilities.argmax(axis=1) == labels).mean())
            found.setdefault(name, []).append((accuracy, expected_calibration_error(probabilities, labels), seconds))
            click.echo(f"{name}, seed {seed}: {accuracy:.2%} in {seconds:.0f} s", err=True)
    rows = {name: summary(values) for name, values in found.items()}
    about = {"folder": folder.name, "per_class": per_class, "asked": len(labels), "network": network, "flip": flip}
    click.echo(json.dumps({**about, "methods": rows, **circumstances()}))


def summary(values: list[tuple[float, float, float]]) -> dict[str, Any]:
    accuracy, error, seconds = np.array(values).T
    return {
        "accuracy": round(float(accuracy.mean()), 4),
        "least": round(float(accuracy.min()), 4),
        "most": round(float(accuracy.max()), 4),
        "calibration_error": round(float(error.mean()), 4),
        "seconds": round(float(seconds.mean()), 1),
    }


def draw(folder: Path, target: Path, per_class: int, asked: int, seed: int) -> None:
    """Links `target/train/CLASS/...` and `target/test/CLASS/...`: the classes have as many images to learn from, and
    those to answer are drawn from all that are left.
    """
    rng = np.random.default_rng(seed)
    left: list[Path] = []
    for home in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = [path for path in sorted(home.iterdir()) if path.is_file()]
        order = rng.permutation(len(paths))
        link([paths[i] for i in order[:per_class]], target / "train")
        left += [paths[i] for i in order[per_class:]]
    link([left[i] for i in rng.permutation(len(left))[:asked]], target / "test")


def link(paths: list[Path], target: Path) -> None:
    for path in paths:
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        (target / path.parent.name / path.name).symlink_to(path.resolve())


def answer(name: str, drawn: Path, network: str, seed: int, *, flip: bool) -> Answers:
    return ours(OURS[name], drawn, network, seed, flip=flip) if name in OURS else theirs(name, drawn, network, seed)


def ours(train: str, drawn: Path, network: str, seed: int, *, flip: bool) -> Answers:
    trained, _ = fitted(train, drawn, network, seed, flip=flip)
    return trained.predictions.probabilities, trained.predictions.labels


def fitted(train: str, drawn: Path, network: str, seed: int, *, flip: bool = True) -> "tuple[Trained, Data]":
    """As `fit` trains: where more than the last layer learns, an eighth of the images validates."""
    from training.config.layers import BY_FLAG, layers_of
    from training.data.dataset import find_images, prepare
    from training.fit.fit import fit
    from training.fit.options import FitOptions
    from training.runs.plan import make_plan
    from training.weights.bundle import cached_bundle

    flags = {"train": train, "seed": seed, "channels": "3", **({} if flip else {"flip": False})}
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as run:
        found, start = find_images(str(drawn), Path(cache)), cached_bundle(network, CACHE)
        plan = make_plan(found, layers_of(flags, BY_FLAG), start)
        val = 0.0 if train == "head" else 1 / 8
        data = prepare(found, plan.spec, Path(cache), Console(quiet=True), fractions=(val, 0.0))
        settings = plan.settings_for(len(data.split.train))
        return fit(data.decoded, data.split, settings, Path(run), FitOptions(), start=start), data


def theirs(name: str, drawn: Path, network: str, seed: int) -> Answers:
    from benchmarks.transfer_peers import PEERS, Task
    from models.bundle.preprocessing import InputSpec, decode_image
    from models.networks.registry import architecture_of

    side = architecture_of(network).input_shape[0]
    classes = sorted(path.name for path in (drawn / "train").iterdir())

    def read(part: str) -> tuple[np.ndarray, np.ndarray]:
        paths = [(path, i) for i, name in enumerate(classes) for path in sorted((drawn / part / name).glob("*"))]
        images = [decode_image(path.read_bytes(), InputSpec(side, side, 3, "squash")) for path, _ in paths]
        return np.stack(images), np.array([label for _, label in paths])

    (images, labels), (asked, truth) = read("train"), read("test")
    return PEERS[name](Task(network, images, labels, asked, len(classes), seed)), truth


if __name__ == "__main__":
    main()
