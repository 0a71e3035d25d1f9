"""The command line of training: `python -m training --help`."""

import errno
import json
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from models import bundle as bundles
from models.preprocessing import InputSpec
from training.augment import Augmentation
from training.datasets import DATA_SETS
from training.quiet import import_quietly
from training.settings import Settings, default_learning_rate

CACHE = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=".cache",
    show_default=True,
    help="Where decoded images and named data sets are kept.",
)
EXPORTS = click.option(
    "--exports",
    type=click.Path(path_type=Path, file_okay=False),
    default="exports",
    show_default=True,
    help="Where bundles are published.",
)
SIZES = {"lenet5": 32}  # pixels; what a network was made for
SIZE = 224
MAX_LISTED = 5  # unreadable files that are named on the screen
SMALL_IMAGES = 128  # pixels; a folder of images smaller than this is not blown up to 224


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """From folders of images to a published model."""


def explained(command: Callable[..., None]) -> Callable[..., None]:
    """Faults of the input, the disk or the training end with one sentence and exit code 1, no traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (ValueError, RuntimeError, OSError) as error:
            if os.environ.get("STRIATE_TRACEBACK"):
                raise
            raise click.ClickException(sentence(error)) from error

    return wrapper


def sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The disk is full: {error}. Make room, or choose other folders with --cache, --runs and --exports."
    return str(error)


@main.command()
@click.option("--data", required=True, help=f"A folder with a folder per class, or one of {', '.join(DATA_SETS)}.")
@click.option("--model", "architecture", required=True, help="Architecture, for example lenet5 or resnet18.")
@click.option("--name", required=True, help="Name of the model that is made: a-z, 0-9, - and _.")
@click.option("--epochs", type=click.IntRange(1), default=30, help="Epochs at most.")
@click.option("--batch-size", type=click.IntRange(1), default=64)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="At its peak. [default: the network's]")
@click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), default=0.9)
@click.option("--weight-decay", type=click.FloatRange(0), default=5e-4, help="L2, coupled with the loss.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="Rate. [default: the paper's]")
@click.option("--patience", type=click.IntRange(1), default=15, help="Epochs without a better validation loss.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--precision", type=click.Choice(["auto", "float32", "mixed_bfloat16"]), default="auto")
@click.option("--flip/--no-flip", default=None, help="Mirror at random. [default: on, but for digits]")
@click.option(
    "--shift", type=click.FloatRange(0, 0.5), default=0.1, help="At most this fraction of the side; 0 is off."
)
@click.option("--contrast", type=click.FloatRange(0, 1), default=0.2, help="Factor within 1 ± this; 0 is off.")
@click.option("--brightness", type=click.FloatRange(0, 1), default=0.1, help="At most ± this of the range; 0 is off.")
@click.option(
    "--size",
    type=click.IntRange(8, 2048),
    help="Height and width of the input. [default: by network and data]",
)
@click.option("--channels", type=click.Choice(["1", "3"]), help="[default: 1 where all images are grey, else 3]")
@click.option("--resize", type=click.Choice(["crop", "squash", "pad"]), default="crop")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard logs into the run directory.")
@click.option("--publish", is_flag=True, help="Publish the bundle and make it live.")
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), default="runs", help="Where runs are kept.")
@CACHE
@EXPORTS
@explained
def fit(
    data: str,
    architecture: str,
    name: str,
    publish: bool,
    runs: Path,
    cache: Path,
    exports: Path,
    **flags: Any,
) -> None:
    """Train a network and export it as a verified bundle."""
    bundles.check_model_name(name)
    import_quietly("keras")
    from models.registry import check_architecture
    from training.run import new_run_directory, prepare, train_and_export

    check_architecture(architecture)
    console = Console()
    prepared = prepare(data, choose_input(data, architecture, cache, flags), cache, console)
    settings = read_settings(architecture, data, flags)
    report_data(console, prepared)
    run = new_run_directory(runs, name)
    manifest = train_and_export(run, name, prepared, settings, console=console, tensorboard=flags["tensorboard"])
    test = manifest.metrics["test"]
    say(
        console,
        f"test accuracy {test['accuracy']:.2%} on {test['num_images']} images",
        f"report: {run / 'report.html'}",
    )
    if publish:
        version = bundles.publish(run / "bundle", exports)
        say(console, f"published and live: {exports / name / str(version)}")
    else:
        say(console, f"publish it with: python -m training publish {run}")


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--data", required=True, help=f"A folder with a folder per class, or one of {', '.join(DATA_SETS)}.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@CACHE
@explained
def evaluate(bundle: Path, data: str, as_json: bool, cache: Path) -> None:
    """Measure a bundle, or a run's bundle, on every image of a labelled folder."""
    import_quietly("tensorflow")
    from training.evaluate import evaluate as run_evaluation

    metrics = run_evaluation(bundle_of(bundle), data, cache, Console(stderr=True))
    if as_json:
        click.echo(json.dumps(metrics, ensure_ascii=False))
        return
    for figure in (
        "num_images",
        "accuracy",
        "balanced_accuracy",
        "negative_log_likelihood",
        "expected_calibration_error",
    ):
        click.echo(f"{figure.replace('_', ' '):<28} {metrics[figure]:.6g}")
    for path, reason in metrics["unreadable"].items():
        click.echo(f"left out: {path}: {reason}", err=True)


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--live/--not-live", default=True, help="Send the model's traffic to it.")
@EXPORTS
@explained
def publish(bundle: Path, live: bool, exports: Path) -> None:
    """Publish a bundle, or a run's bundle, as the next version of its model."""
    model = bundles.read_manifest(bundle_of(bundle)).model
    version = bundles.publish(bundle_of(bundle), exports, make_live=live)
    click.echo(f"published{' and live' if live else ''}: {exports / model / str(version)}")


@main.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(1))
@EXPORTS
@explained
def live(model: str, version: int, exports: Path) -> None:
    """Send a model's traffic to a published version: promotion and rollback alike."""
    bundles.set_live(exports, model, version)
    click.echo(f"live: {exports / model / str(version)}")


def bundle_of(path: Path) -> Path:
    """A run directory holds its bundle; anything else is taken for one."""
    return path / "bundle" if (path / "bundle").is_dir() else path


def choose_input(data: str, architecture: str, cache: Path, flags: dict[str, Any]) -> InputSpec:
    """What was asked for; otherwise what suits the network and the images."""
    from training.inspect import sample_images
    from training.run import resolve

    if flags["size"] and flags["channels"]:
        side, channels = flags["size"], int(flags["channels"])
    else:
        sample = sample_images(resolve(data, cache))
        small = sample.median_side if sample.median_side < SMALL_IMAGES else SIZE
        side = flags["size"] or SIZES.get(architecture) or max(small, 32)
        channels = int(flags["channels"] or (1 if sample.all_grey else 3))
    return InputSpec(side, side, channels, flags["resize"])


def read_settings(architecture: str, data: str, flags: dict[str, Any]) -> Settings:
    flip = flags["flip"]
    if flip is None:
        flip = data not in DATA_SETS or DATA_SETS[data].mirrors
    chosen = ("epochs", "batch_size", "momentum", "weight_decay", "dropout", "patience", "seed", "precision")
    return Settings(
        architecture,
        learning_rate=flags["learning_rate"] or default_learning_rate(architecture),
        augmentation=Augmentation(flip, flags["shift"], flags["contrast"], flags["brightness"]),
        **{name: flags[name] for name in chosen},
    )


def report_data(console: Console, data: Any) -> None:
    decoded, split = data.decoded, data.split
    lines = [
        f"{len(decoded.labels):,} images in {len(decoded.class_names)} classes as "
        f"{data.spec.height}x{data.spec.width}x{data.spec.channels}: {len(split.train):,} to train, "
        f"{len(split.val):,} to validate, {len(split.test):,} to test"
    ]
    unreadable = list(decoded.unreadable.items())
    lines += [f"left out: {path}: {reason}" for path, reason in unreadable[:MAX_LISTED]]
    if len(unreadable) > MAX_LISTED:
        lines.append(f"left out: {len(unreadable) - MAX_LISTED} more; unreadable.tsv in the run has them all")
    say(console, *lines)


def say(console: Console, *lines: str) -> None:
    """Print as it is: no colours, no markup, no line breaks of the console's own."""
    for line in lines:
        line = line.encode("utf-8", "backslashreplace").decode()  # file names may be no Unicode
        console.print(line, highlight=False, markup=False, soft_wrap=True)
