"""Photographs that start from published weights, each judged by networks that have not seen it.

    python -m benchmarks.photographs FOLDER --train head
    python -m benchmarks.photographs FOLDER --train tail --folds 5

The images of a folder are divided into parts; each part is answered by a model that was trained on the others, with the
defaults of `fit`. An eighth of the others validates, as in a run of one's own. What is printed is over all images:
accuracy, expected calibration error, and the seconds of each training, without decoding and export.
"""

import json
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

import click
import numpy as np
from rich.console import Console
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.processes import circumstances
from models.process.quiet import import_quietly

CACHE = Path(".cache")


@click.command()
@click.argument("folder")
@click.option("--train", type=click.Choice(["head", "tail"]), default="head", show_default=True)
@click.option("--network", default="efficientnet_lite2", show_default=True)
@click.option("--folds", default=5, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the parts and of the training.")
def main(folder: str, train: str, network: str, folds: int, seed: int) -> None:
    """Train on FOLDER without each of its parts in turn, and judge on that part."""
    import_quietly("keras")
    from training.config.layers import BY_FLAG, layers_of
    from training.data.dataset import find_images, prepare
    from training.data.split import Split
    from training.evaluate.metrics import expected_calibration_error
    from training.fit.fit import fit
    from training.fit.options import FitOptions
    from training.runs.plan import make_plan
    from training.weights.bundle import cached_bundle

    found, start = find_images(folder, CACHE), cached_bundle(network, CACHE)
    plan = make_plan(found, layers_of({"train": train, "seed": seed}, BY_FLAG), start)
    data = prepare(found, plan.spec, CACHE, Console(quiet=True))
    labels, groups = data.decoded.labels, data.decoded.groups()
    everything = np.arange(len(labels))
    probabilities = np.zeros((len(labels), len(data.decoded.class_names)))
    seconds, accuracies = [], []
    for rest, part in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(everything, labels, groups):
        validation = StratifiedGroupKFold(8, shuffle=True, random_state=seed).split(rest, labels[rest], groups[rest])
        train_rows, val_rows = (rest[rows] for rows in next(iter(validation)))
        split = Split(train_rows, val_rows, part)
        with tempfile.TemporaryDirectory() as run:
            began = time.perf_counter()
            settings = plan.settings_for(len(train_rows))
            trained = fit(data.decoded, split, settings, Path(run), FitOptions(), start=start)
            seconds.append(time.perf_counter() - began)
        probabilities[part] = trained.predictions.probabilities
        accuracies.append(trained.metrics["accuracy"])
        click.echo(f"{len(part)} images: {accuracies[-1]:.2%} in {seconds[-1]:.0f} s", err=True)
    figures = {
        "folder": Path(folder).name,
        "network": network,
        "train": train,
        "images": len(labels),
        "side": plan.spec.height,
        "seed": seed,
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "accuracy_of_parts": [round(accuracy, 4) for accuracy in accuracies],
        "deviation_of_parts": stdev(accuracies),
        "calibration_error": expected_calibration_error(probabilities, labels),
        "seconds": mean(seconds),
        **circumstances(),
    }
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
