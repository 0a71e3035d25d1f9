"""`striate train`, and what helps to choose its settings: `lr-find` and `recipes`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from models.bundle.manifest import Manifest
from models.files.durable import write_durably
from models.process.commands import explained, resumable
from models.process.quiet import import_quietly
from models.store.layout import check_model_name
from models.store.live import read_live
from models.store.option import EXPORTS
from training.cli.deferred import (
    auditing,
    dataset,
    directory,
    distributed,
    fit_options,
    indexing,
    lineage,
    lr_finder,
    pipeline,
    plans,
    publish_check,
    publishing,
    setup,
    starts,
    svg,
)
from training.cli.options import CACHE, DATA, FORCE, LABELLED_DATA, PUBLISH, REFUSED_EPILOG, START, refuse, say
from training.config.flags import Finite, FlagsByHeading, everyday, training_flags
from training.config.label_flags import group_flags, label_flags, labels_of_flags
from training.config.layers import layers_of_flags
from training.config.recipes import describe_recipe, read_recipe, recipe_names
from training.fit.state import CHECKPOINT_EVERY_S

if TYPE_CHECKING:
    from training.data.dataset import Data
    from training.fit.callbacks import Event
    from training.fit.options import FitOptions


@click.command(cls=FlagsByHeading, epilog=REFUSED_EPILOG, context_settings={"max_content_width": 120})
@LABELLED_DATA
@label_flags
@group_flags
@everyday("--name", required=True, help="Name of the model: a-z, 0-9, - and _.")
@training_flags
@START
@click.option(
    "--distributed",
    is_flag=True,
    help="Train on all devices, and with all processes of KERAS_DISTRIBUTION_JOB_ADDRESSES; needs KERAS_BACKEND=jax.",
)
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard logs into the run directory.")
@click.option(
    "--progress",
    type=click.Choice(["text", "json", "quiet"]),
    default="text",
    help="What to print: text for people, one JSON object for each event, or nothing.",
)
@click.option(
    "--label-errors",
    "num_folds",
    type=click.IntRange(2),
    metavar="FOLDS",
    help="Look for wrong labels by training this many more times on parts of the images.",
)
@click.option(
    "--predictions",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    help="Format of the predictions for the test images; parquet also writes predictions.parquet with every class.",
)
@click.option(
    "--thumbnails",
    is_flag=True,
    help="Put small copies of up to 1,000 training images into the bundle. Whoever may ask the model then sees those "
    "that resemble an image.",
)
@click.option(
    "--dry-run", is_flag=True, help="Decode and split the images, print every setting and its source, and stop."
)
@click.option("--fresh", is_flag=True, help="Start again instead of continuing an interrupted run of the same command.")
@click.option(
    "--checkpoint-every",
    type=Finite(0),
    metavar="SECONDS",
    default=CHECKPOINT_EVERY_S,
    help="Minimum time between two checkpoints; one is also written after every epoch.",
)
@PUBLISH
@FORCE
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), default="runs", help="Folder of runs.")
@CACHE
@EXPORTS
@resumable
def fit(data: str, name: str, publish: bool, force: bool, runs: Path, cache: Path, exports: Path, **flags: Any) -> Any:
    """Train a network and export it as a verified bundle."""
    check_model_name(name)
    import_quietly("tensorflow", "keras")
    layers = layers_of_flags()
    options = fit_options.FitOptions(
        Console(quiet=flags["progress"] != "text"),
        on_event=print_as_json if flags["progress"] == "json" else lambda event: None,
        tensorboard=flags["tensorboard"],
        checkpoint_every_s=flags["checkpoint_every"],
        group=distributed.join_group() if flags["distributed"] else distributed.ALONE,
    )
    labels = labels_of_flags()
    found = dataset.find_images(data, cache, labels=labels)
    indexing.check_apart(found.index.root, ("--runs", runs), *([("--exports", exports)] if publish else []))
    said = flags["start"] or (starts.SCRATCH if options.group.size > 1 else None)  # several processes train all layers
    start = starts.find_start(said, found, layers, cache, options.console)
    plan = plans.make_plan(found, layers, start)
    if options.group.size > 1 and plan.settings.train != "all":
        raise click.UsageError(f"--train {plan.settings.train} is for one process.")
    held_out = None if flags["dry_run"] else directory.held_out_file(runs, data, plan.fractions, cache, labels)
    prepared = dataset.prepare(found, plan.spec, cache, options.console, fractions=plan.fractions, memory=held_out)
    report_data(options.console, prepared)
    settings = plan.settings_for(len(prepared.split.train))
    if flags["dry_run"]:
        if options.group.leads:
            print_settings(settings.flat(), plan.sources(settings), as_json=flags["progress"] == "json")
        return None
    if not options.group.leads:
        pipeline.follow(prepared, settings, options, start=start)
        return None
    config = {"model": name, **lineage.describe(prepared, settings), "from": plan.started_from}
    with directory.claim_run(runs, name, config, fresh=flags["fresh"]) as run:
        manifest = pipeline.train_and_export(
            run,
            name,
            prepared,
            settings,
            options,
            num_folds=flags["num_folds"] or 0,
            in_parquet=flags["predictions"] == "parquet",
            thumbnails=flags["thumbnails"],
            start=start,
            origin=plan.origin(name, exports),
            sources=plan.sources(settings),
        )
        version, refusal = None, ""
        if publish:
            once = publishing.publish_once
            version, refusal = publish_check.publish_checked(run / "bundle", exports, once, force=force)
        directory.finish(run)
    report_result(options, run, manifest, version, refusal)
    if refusal:
        refuse(refusal, run, exports)
    elif publish:
        is_live = read_live(exports / name).live == version
        say(options.console, f"published{' and live' if is_live else ''}: {exports / name / str(version)}")
    else:
        say(options.console, f"publish it with: striate publish {run}")
    return run


def print_settings(settings: dict[str, Any], sources: dict[str, str], *, as_json: bool) -> None:
    """Each setting, and the layer that it comes from."""
    if as_json:
        said = {name: {"value": value, "source": sources[name]} for name, value in settings.items()}
        click.echo(json.dumps({"event": "settings", "settings": said}))
        return
    for name, value in settings.items():
        click.echo(f"{name:<24} {value!s:<12} {sources[name]}")


def print_as_json(event: "Event") -> None:
    click.echo(json.dumps(event))


def report_result(options: "FitOptions", run: Path, manifest: Manifest, version: int | None, refusal: str) -> None:
    """Print the test figures, and pass them on as the last event."""
    test = manifest.metrics["test"]
    figures = f"test {headline(test)}" if test["num_images"] else "nothing was held out to test"
    say(options.console, figures, f"report: {run / 'report.html'}")
    done = {"event": "done", "run": str(run), "model": manifest.model, "version": version, "test": test}
    options.on_event({**done, "refused": refusal} if refusal else done)


def report_data(console: Console, data: "Data") -> None:
    decoded, split = data.decoded, data.split
    line = (
        f"{len(decoded.labels):,} images in {len(decoded.class_names)} classes as "
        f"{data.spec.height}x{data.spec.width}x{data.spec.channels}: {len(split.train):,} to train, "
        f"{len(split.val):,} to validate, {len(split.test):,} to test"
    )
    groups = data.about_groups()
    say(console, line, *([groups] if groups else []), *auditing.summary(data.audit))


def headline(metrics: dict[str, Any]) -> str:
    """The figure to go by; where that is not accuracy, accuracy behind it."""
    accuracy, images = f"accuracy {metrics['accuracy']:.2%}", f"on {metrics['num_images']} images"
    if metrics["headline"] == "accuracy":
        return f"{accuracy} {images}"
    return f"balanced accuracy {metrics['balanced_accuracy']:.2%} ({accuracy}; classes are skewed) {images}"


@click.command("lr-find")
@DATA
@label_flags
@group_flags
@training_flags
@click.option(
    "--num-steps", type=click.IntRange(10), default=200, help="Number of steps over which the learning rate rises."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="lr.svg", help="SVG file to write."
)
@CACHE
@explained
def lr_find(data: str, num_steps: int, output: Path, cache: Path, **flags: Any) -> None:
    """Find a learning rate for a network.

    The network is trained at rising learning rates until it diverges. Flags of schedule and length have no effect.
    """
    import_quietly("tensorflow", "keras")
    console = Console()
    images = dataset.find_images(data, cache, labels=labels_of_flags())
    say(console, *images.index.notes)
    plan = plans.make_plan(images, layers_of_flags(), None)
    prepared = dataset.prepare(images, plan.spec, cache, console, fractions=plan.fractions)
    ready = setup.get_ready(prepared.decoded, prepared.split, plan.settings, console)
    found = lr_finder.find_rate(ready, num_steps)
    title = f"loss of {plan.architecture.name} by learning rate; try {found.suggestion:.2g}"
    along = f"step; the learning rate rises from {found.rates[0]:.1g} to {found.rates[-1]:.1g}"
    write_durably(output, svg.drawing(title, {"loss": found.losses}, along))
    say(console, f"try --learning-rate {found.suggestion:.2g}; the plot: {output}")


@click.command()
@click.argument("name", required=False)
@explained
def recipes(name: str | None) -> None:
    """List the recipes, or print one."""
    if name:
        click.echo(read_recipe(name), nl=False)
        return
    for recipe in recipe_names():
        click.echo(f"{recipe:<20} {describe_recipe(recipe)}")
