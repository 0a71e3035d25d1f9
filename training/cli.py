"""The command line of training: `python -m training --help`."""

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click
from rich.console import Console

from models import bundle as bundles
from models.preprocessing import InputSpec
from models.quiet import import_quietly
from training.augment import Augmentation, Edge
from training.datasets import DATA_SETS
from training.recipe import DEFAULT, describe_recipe, parse_recipe, read_recipe, recipe_names
from training.settings import (
    BATCH_SIZE,
    Decayed,
    Optimizer,
    Precision,
    Schedule,
    Settings,
    choices,
    default_clip_norm,
    default_learning_rate,
)

if TYPE_CHECKING:  # it imports Keras
    from models.registry import Architecture

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
MAX_LISTED = 5  # unreadable files that are named on the screen


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


class Finite(click.FloatRange):
    """A range that neither `inf` nor `nan` is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class Fractions(click.ParamType):
    """`85/5/10` -> (0.05, 0.1): percentages of training, validation and test, of which the last two are needed."""

    name = "TRAIN/VAL/TEST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if not isinstance(value, str):
            return value
        parts = value.split("/")
        percentages = [int(part) for part in parts if part.isascii() and part.isdecimal()]
        if len(parts) != 3 or len(percentages) != 3 or not all(percentages) or sum(percentages) != 100:
            self.fail(f"{value!r} is no split; give three percentages above 0 that add up to 100, such as 70/15/15.")
        return percentages[1] / 100, percentages[2] / 100


def follow_recipe(context: click.Context, _: click.Parameter, name: str) -> str:
    """What the recipe says becomes the default of the flags of the same name."""
    kinds = {**get_type_hints(Settings), **get_type_hints(Augmentation)}
    flags = {parameter.name for parameter in context.command.params} - {"architecture", "recipe"}
    try:
        context.default_map = parse_recipe(name, {field: kinds[field] for field in kinds if field in flags})
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error)) from error
    return name


@main.command()
@click.option("--data", required=True, help=f"A folder with a folder per class, or one of {', '.join(DATA_SETS)}.")
@click.option("--model", "architecture", required=True, help="A network: `python -m models list` has them all.")
@click.option("--name", required=True, help="Name of the model that is made: a-z, 0-9, - and _.")
@click.option(
    "--recipe",
    default=DEFAULT,
    is_eager=True,
    callback=follow_recipe,
    help="Defaults for the flags from here to --brightness: a name from `python -m training recipes`, or a TOML file.",
)
@click.option("--epochs", type=click.IntRange(1), default=30, help="Epochs at most.")
@click.option("--steps", type=click.IntRange(0), default=0, help="Length in steps, up to whole epochs; 0: in epochs.")
@click.option("--batch-size", type=click.IntRange(1), default=BATCH_SIZE)
@click.option("--optimizer", type=click.Choice(choices(Optimizer)), default="sgd")
@click.option("--learning-rate", type=Finite(0, min_open=True), help="At its peak. [default: the network's]")
@click.option("--schedule", type=click.Choice(choices(Schedule)), default="cosine", help="How the rate falls.")
@click.option("--warmup-epochs", type=click.IntRange(0), default=1, help="Epochs in which the cosine rises first.")
@click.option(
    "--drop-factor",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    help="What the other schedules multiply the rate by:",
)
@click.option(
    "--drop-at",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    help="... `steps`, at this fraction of the run; may be given more than once,",
)
@click.option("--drop-every", type=click.IntRange(0), default=0, help="... `exponential`, every so many epochs,")
@click.option("--plateau-epochs", type=click.IntRange(0), default=0, help="... `plateau`, after so many without gain.")
@click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), default=0.9, help="Of SGD.")
@click.option("--nesterov/--no-nesterov", default=True, help="Of SGD.")
@click.option("--weight-decay", type=Finite(0), default=5e-4, help="L2, coupled with the loss.")
@click.option("--decayed", type=click.Choice(choices(Decayed)), default="kernels", help="What weight decay acts on.")
@click.option("--clip-norm", type=Finite(0), help="Longest gradient. [default: 5; 0 with batch normalisation]")
@click.option(
    "--dropout",
    type=click.FloatRange(0, 1, max_open=True),
    help="Rate. [default: the paper's; for small networks, see docs/training.md]",
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=15,
    help="Epochs without a better validation loss. 0: all, last weights.",
)
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--precision", type=click.Choice(choices(Precision)), default="auto")
@click.option("--flip/--no-flip", default=None, help="Mirror at random. [default: on, but for digits]")
@click.option(
    "--shift", type=click.FloatRange(0, 0.5), default=0.1, help="At most this fraction of the side; 0 is off."
)
@click.option("--edge", type=click.Choice(choices(Edge)), default="mirror", help="What a shift brings in.")
@click.option("--contrast", type=click.FloatRange(0, 1), default=0.2, help="Factor within 1 ± this; 0 is off.")
@click.option("--colour", type=click.FloatRange(0, 1), default=0.0, help="AlexNet's colour noise; the paper has 0.1.")
@click.option("--brightness", type=click.FloatRange(0, 1), default=0.1, help="At most ± this of the range; 0 is off.")
@click.option(
    "--size",
    type=click.IntRange(8, 2048),
    help="Height and width of the input. [default: by network and data]",
)
@click.option("--channels", type=click.Choice(["1", "3"]), help="[default: 1 where all images are grey, else 3]")
@click.option("--resize", type=click.Choice(["crop", "squash", "pad"]), default="crop")
@click.option("--split", "fractions", type=Fractions(), default="70/15/15", help="Percent; a folder's own splits stay.")
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
    from models.registry import architecture_of
    from training.run import new_run_directory, prepare, train_and_export

    chosen = architecture_of(architecture)
    console = Console()
    settings = read_settings(chosen, data, flags)
    spec = choose_input(data, chosen, cache, flags)
    chosen.check_size(spec.shape)
    prepared = prepare(data, spec, cache, console, fractions=flags["fractions"])
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
@click.argument("name", required=False)
@explained
def recipes(name: str | None) -> None:
    """List the recipes, or print one."""
    if name:
        click.echo(read_recipe(name), nl=False)
        return
    for recipe in recipe_names():
        click.echo(f"{recipe:<20} {describe_recipe(recipe)}")


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


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="filters.png", help="A PNG.")
@click.option(
    "--image",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Whose feature maps are shown. [default: the bundle's first golden image]",
)
@explained
def filters(bundle: Path, output: Path, image: Path | None) -> None:
    """Draw a bundle's, or a run's, first filters and what each stage makes of an image."""
    import_quietly("tensorflow")
    from training.filters import draw

    picture = draw(bundle_of(bundle), image)
    picture.save(output, "PNG")
    click.echo(f"{output}: {picture.width}x{picture.height} pixels")


def bundle_of(path: Path) -> Path:
    """A run directory holds its bundle; anything else is taken for one."""
    return path / "bundle" if (path / "bundle").is_dir() else path


def choose_input(data: str, architecture: "Architecture", cache: Path, flags: dict[str, Any]) -> InputSpec:
    """What was asked for; otherwise what suits the network and the images."""
    from training.inspect import sample_images
    from training.run import resolve

    if flags["size"] and flags["channels"]:
        side, channels = flags["size"], int(flags["channels"])
    else:
        sample = sample_images(resolve(data, cache))
        side = flags["size"] or architecture.side_for(sample.median_side)
        channels = int(flags["channels"] or (1 if sample.all_grey else 3))
    return InputSpec(side, side, channels, flags["resize"])


def read_settings(architecture: "Architecture", data: str, flags: dict[str, Any]) -> Settings:
    """The recipe's values, or the flags' where they were given."""
    chosen = {f.name: flags[f.name] for f in fields(Settings) if f.name in flags}
    chosen["architecture"] = architecture.name  # not the alias that may have been typed
    typed = {name for name in ("epochs", "steps") if was_typed(name)}
    if len(typed) == 2:
        raise click.UsageError("--epochs and --steps both say how long to train; give one of them.")
    if typed == {"epochs"}:
        chosen["steps"] = 0  # a recipe's steps give way to epochs that were typed
    if not chosen["learning_rate"]:
        chosen["learning_rate"] = default_learning_rate(
            chosen["optimizer"], normalised=architecture.normalised, batch_size=chosen["batch_size"]
        )
    if chosen["clip_norm"] is None:
        chosen["clip_norm"] = default_clip_norm(normalised=architecture.normalised)
    augmentation = {f.name: flags[f.name] for f in fields(Augmentation)}
    if augmentation["flip"] is None:
        augmentation["flip"] = data not in DATA_SETS or DATA_SETS[data].mirrors
    return Settings(**chosen, augmentation=Augmentation(**augmentation))


def was_typed(flag: str) -> bool:
    return click.get_current_context().get_parameter_source(flag) is click.core.ParameterSource.COMMANDLINE


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
