"""The command line of training: `python -m training --help`."""

import json
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from models.bundle.manifest import manifest as bundles
from models.errors import UserError
from models.files.durable import write_durably
from models.process.commands import explained, resumable
from models.process.quiet import import_quietly
from models.store import publish as published
from models.store.history import find_bundle
from training.config.flags import (
    Finite,
    Fractions,
    choose_architecture,
    choose_input,
    read_fractions,
    read_settings,
    training_flags,
)
from training.config.recipes import describe_recipe, read_recipe, recipe_names
from training.data.named_sets import DATA_SETS
from training.fit.state import CHECKPOINT_EVERY_S

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

PUBLISH = click.option("--publish", is_flag=True, help="Publish the bundle and make it live, if it passes a check.")
FORCE = click.option(
    "--force",
    is_flag=True,
    help="Publish also what fails the check: it has not learnt anything, or the live version is better.",
)
REFUSED = 3  # the exit code where a model is not published because it failed the check
REFUSED_EPILOG = (
    f"Exit code {REFUSED}: everything was done, and the model was not published, since it failed the check."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """From folders of images to a published model."""


@main.command(epilog=REFUSED_EPILOG)
@click.option("--data", required=True, help=f"A folder with a folder per class, or one of {', '.join(DATA_SETS)}.")
@click.option("--name", required=True, help="Name of the model that is made: a-z, 0-9, - and _.")
@training_flags
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="BUNDLE|RUN",
    help="Start from this model's weights; its classes may be others.",
)
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
    help="What is printed: lines and a bar for people, a line of JSON for each event, or nothing.",
)
@click.option(
    "--label-errors",
    "num_folds",
    type=click.IntRange(2),
    metavar="FOLDS",
    help="Look for wrong labels, by training so many times more on parts of the images.",
)
@click.option("--fresh", is_flag=True, help="Begin anew, where this command was cut off before and would go on.")
@click.option(
    "--checkpoint-every",
    type=Finite(0),
    metavar="SECONDS",
    default=CHECKPOINT_EVERY_S,
    help="How much of the work a kill may cost, at least; an epoch's end is kept in any case.",
)
@PUBLISH
@FORCE
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), default="runs", help="Where runs are kept.")
@CACHE
@EXPORTS
@resumable
def fit(
    data: str,
    name: str,
    publish: bool,
    force: bool,
    runs: Path,
    cache: Path,
    exports: Path,
    **flags: Any,
) -> None:
    """Train a network and export it as a verified bundle."""
    published.check_model_name(name)
    import_quietly("tensorflow", "keras")
    from training.data.dataset import prepare, resolve
    from training.data.index import check_apart
    from training.promotion.publishing import publish_once
    from training.runs.directory import claim_run, finish, is_open
    from training.runs.lineage import describe
    from training.runs.pipeline import follow, train_and_export
    from training.runs.plan import make_plan

    group = None
    if flags["distributed"]:
        from training.fit.distributed import join_group

        group = join_group()
    start = find_bundle(flags["start"]) if flags["start"] else None
    if flags["start"] and is_open(flags["start"]):
        raise UserError(f"{flags['start']} is a run that is not finished; give its command again first.")
    if flags["freeze_epochs"] and not start:
        raise click.UsageError("--freeze-epochs is for --from: there is nothing else to freeze.")
    progress = flags["progress"]
    console = Console(quiet=progress != "text")
    on_event = (lambda event: click.echo(json.dumps(event))) if progress == "json" else (lambda event: None)
    check_apart(resolve(data, cache), ("--runs", runs), *([("--exports", exports)] if publish else []))
    plan = make_plan(data, cache, flags, start)
    prepared = prepare(data, plan.spec, cache, console, fractions=plan.fractions)
    report_data(console, prepared)
    settings = plan.settings_for(len(prepared.split.train))
    if group and not group.leads:
        follow(prepared, settings, console, start=start, group=group)
        return
    config = {"model": name, **describe(prepared, settings), "from": plan.started_from}
    with claim_run(runs, name, config, fresh=flags["fresh"]) as run:
        manifest = train_and_export(
            run,
            name,
            prepared,
            settings,
            console=console,
            tensorboard=flags["tensorboard"],
            on_event=on_event,
            checkpoint_every_s=flags["checkpoint_every"],
            num_folds=flags["num_folds"] or 0,
            start=start,
            origin=plan.origin(name, exports),
            group=group,
        )
        version, refusal = (
            publish_checked(run / "bundle", exports, publish_once, force=force) if publish else (None, "")
        )
        finish(run)
    test = manifest.metrics["test"]
    say(
        console,
        f"test {headline(test)}" if test["num_images"] else "nothing was held out to test",
        f"report: {run / 'report.html'}",
    )
    done = {"event": "done", "run": str(run), "model": name, "version": version, "test": test}
    on_event({**done, "refused": refusal} if refusal else done)
    if refusal:
        refuse(refusal, run, exports)
    elif publish:
        is_live = published.read_live(exports / name).live == version
        say(console, f"published{' and live' if is_live else ''}: {exports / name / str(version)}")
    else:
        say(console, f"publish it with: python -m training publish {run}")


@main.command()
@click.argument("data", metavar="PATH")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@CACHE
@explained
def audit(data: str, as_json: bool, cache: Path) -> None:
    """Look for what is wrong with a folder of images.

    Files that cannot be read, copies and near copies, pictures with two labels, classes of few images, odd formats.
    """
    from training.data.audit import audit_folder, statistics, summary
    from training.data.dataset import decoding_bar, resolve

    console = Console(stderr=True)
    with decoding_bar(console) as bar:
        task = bar.add_task("decoding", total=None)
        found = audit_folder(resolve(data, cache), cache, on_progress=lambda done: bar.update(task, advance=done))
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    say(Console(), *statistics(found), *(summary(found) or ["nothing odd was found"]))


@main.command()
@click.argument("data", metavar="PATH")
@training_flags
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="preview.png", help="A PNG.")
@CACHE
@explained
def preview(data: str, output: Path, cache: Path, **flags: Any) -> None:
    """Draw what a network will see.

    Images as they are, and as a recipe's augmentation shows them.
    """
    import_quietly("tensorflow", "keras")
    from training.data.dataset import decode_folder, resolve
    from training.data.index import index_folder
    from training.report.preview import draw_preview

    chosen = choose_architecture(flags, None)
    spec = choose_input(data, chosen, cache, flags)
    augmentation = read_settings(chosen, data, spec, flags).augmentation
    decoded = decode_folder(index_folder(resolve(data, cache)), spec, cache, Console(stderr=True))
    picture = draw_preview(decoded, augmentation, seed=flags["seed"])
    picture.save(output, "PNG")
    click.echo(f"{output}: {picture.width}x{picture.height} pixels")


@main.command("lr-find")
@click.argument("data", metavar="PATH")
@training_flags
@click.option("--num-steps", type=click.IntRange(10), default=200, help="Over which the rate rises.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="lr.svg", help="A drawing.")
@CACHE
@explained
def lr_find(data: str, num_steps: int, output: Path, cache: Path, **flags: Any) -> None:
    """Find the learning rate a network bears.

    It is trained at ever higher rates until it fails; flags of schedule and length have no effect.
    """
    import_quietly("tensorflow", "keras")
    from training.data.dataset import prepare
    from training.fit.fit import get_ready
    from training.fit.lr_finder import find_rate
    from training.report.svg import drawing

    console = Console()
    chosen = choose_architecture(flags, None)
    spec = choose_input(data, chosen, cache, flags)
    chosen.check_size(spec.shape)
    prepared = prepare(data, spec, cache, console, fractions=read_fractions(flags))
    ready = get_ready(prepared.decoded, prepared.split, read_settings(chosen, data, spec, flags), console)
    found = find_rate(ready, num_steps)
    title = f"loss of {chosen.name} by learning rate; try {found.suggestion:.2g}"
    ends = (f"{rate:.1g}" for rate in (found.rates[0], found.rates[-1]))
    write_durably(output, drawing(title, {"loss": found.losses}, *ends))
    say(console, f"try --learning-rate {found.suggestion:.2g}; the plot: {output}")


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
@click.option("--flips", is_flag=True, help="Answer for each image and its mirror image, and take the mean.")
@click.option("--predictions", type=click.Path(path_type=Path, dir_okay=False), help="Write every answer, as CSV.")
@CACHE
@explained
def evaluate(bundle: Path, data: str, as_json: bool, flips: bool, predictions: Path | None, cache: Path) -> None:
    """Measure a bundle, or a run's bundle, on every image of a labelled folder."""
    import_quietly("tensorflow", "keras")
    from training.evaluate.evaluate import evaluate as run_evaluation
    from training.evaluate.metrics import measure

    answers, images = run_evaluation(find_bundle(bundle), data, cache, Console(stderr=True), flips=flips)
    if predictions:
        answers.write(predictions)
    metrics: dict[str, Any] = {**measure(answers), **images}
    if as_json:
        click.echo(json.dumps(metrics, ensure_ascii=False))
        return
    for figure in (
        "num_images",
        "accuracy",
        "balanced_accuracy",
        "resolvable_difference",
        "negative_log_likelihood",
        "expected_calibration_error",
    ):
        click.echo(f"{figure.replace('_', ' '):<28} {metrics[figure]:.6g}")
    click.echo(f"{'trained on':<28} {said_of_trained_on(images)}")
    for path, reason in metrics["unreadable"].items():
        click.echo(f"left out: {path}: {reason}", err=True)


@main.command(epilog=REFUSED_EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--data", required=True, help="What it was trained on: the same folder, or data set.")
@click.option("--max-drop", type=Finite(0, 1), default=0.01, help="Largest loss of validation accuracy, as a fraction.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The new bundle. [default: BUNDLE-int8]")
@click.option("--split", type=Fractions(), help="Has no effect any more: the bundle says what it was trained on.")
@PUBLISH
@FORCE
@CACHE
@EXPORTS
@explained
def quantize(
    bundle: Path,
    data: str,
    max_drop: float,
    output: Path | None,
    split: tuple[float, float] | None,
    publish: bool,
    force: bool,
    cache: Path,
    exports: Path,
) -> None:
    """Have a bundle compute in 8 bits as well; it is refused if that costs too much accuracy."""
    import_quietly("nncf")
    from training.evaluate.labelled import read_labelled
    from training.export.quantize import quantize as run_quantization

    bundle = find_bundle(bundle)
    target = output or bundle.resolve().with_name(f"{bundle.name}-int8")
    if target.exists():
        raise UserError(f"{target} is there already; delete it, or choose another --output.")
    manifest, console = bundles.verify(bundle), Console()
    if split:
        click.echo("--split has no effect: the bundle says which images it was trained on.", err=True)
    labelled = read_labelled(bundle, manifest, data, cache, console)
    found = run_quantization(bundle, labelled, target, max_drop=max_drop, console=console)
    say(console, f"right on {found}", f"8-bit bundle: {target}")
    if publish:
        version, refusal = publish_checked(target, exports, published.publish, force=force)
        if refusal:
            refuse(refusal, target, exports)
        say(console, f"published and live: {exports / manifest.model / str(version)}")


@main.command(epilog=REFUSED_EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--live/--not-live", default=True, help="Send the model's traffic to it. --not-live needs no check.")
@FORCE
@EXPORTS
@explained
def publish(bundle: Path, live: bool, force: bool, exports: Path) -> None:
    """Publish a bundle, or a run's bundle, as the next version of its model."""
    found = find_bundle(bundle)
    model = bundles.read_manifest(found).model
    how = partial(published.publish, make_live=live)
    version, refusal = publish_checked(found, exports, how, force=force or not live)
    if refusal:
        refuse(refusal, bundle, exports)
    click.echo(f"published{' and live' if live else ''}: {exports / model / str(version)}")


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
    import_quietly("tensorflow", "keras")
    from training.report.filters import draw

    picture = draw(find_bundle(bundle), image)
    picture.save(output, "PNG")
    click.echo(f"{output}: {picture.width}x{picture.height} pixels")


def publish_checked(
    bundle: Path, exports: Path, how: Callable[[Path, Path], int], *, force: bool
) -> tuple[int | None, str]:
    """Publish a bundle, unless it fails the check; returns its version, or None and the reason why it has none.

    Args:
        how: publishes a bundle in the exports.
        force: do without the check.
    """
    from training.promotion.publish_check import Refused, check_before_publishing

    if not force:
        try:
            check_before_publishing(bundle, exports)
        except Refused as refusal:
            return None, str(refusal)
    return how(bundle, exports), ""


def refuse(reason: str, bundle: Path, exports: Path) -> NoReturn:
    """Say why a model was not published, and which command publishes it all the same."""
    elsewhere = "" if exports == Path("exports") else f" --exports {shlex.quote(str(exports))}"
    command = f"python -m training publish {shlex.quote(str(bundle))} --force{elsewhere}"
    click.echo(f"Not published: {reason}\nTo publish it all the same: {command}", err=True)
    sys.exit(REFUSED)


def said_of_trained_on(images: dict[str, Any]) -> str:
    """How many of the images the model has seen, which make its figures flatter."""
    if images["trained_on"] is None:
        return "an unknown number of these images: the bundle does not list what it was trained on"
    said = f"{images['trained_on']:,} of these images, and near duplicates of {images['near_trained_on']:,} others"
    ancestors = ", ".join(images["unknown_ancestors"])
    return f"{said}; it is made from {ancestors}, and what that was trained on is unknown" if ancestors else said


def headline(metrics: dict[str, Any]) -> str:
    """The figure to go by; where that is not accuracy, accuracy behind it."""
    accuracy, images = f"accuracy {metrics['accuracy']:.2%}", f"on {metrics['num_images']} images"
    if metrics["headline"] == "accuracy":
        return f"{accuracy} {images}"
    return f"balanced accuracy {metrics['balanced_accuracy']:.2%} ({accuracy}; classes are skewed) {images}"


def report_data(console: Console, data: Any) -> None:
    from training.data.audit import summary  # imports scikit-learn, which `--help` need not wait for

    decoded, split = data.decoded, data.split
    line = (
        f"{len(decoded.labels):,} images in {len(decoded.class_names)} classes as "
        f"{data.spec.height}x{data.spec.width}x{data.spec.channels}: {len(split.train):,} to train, "
        f"{len(split.val):,} to validate, {len(split.test):,} to test"
    )
    say(console, line, *summary(data.audit))


def say(console: Console, *lines: str) -> None:
    """Print as it is: no colours, no markup, no line breaks of the console's own."""
    for line in lines:
        line = line.encode("utf-8", "backslashreplace").decode()  # file names may be no Unicode
        console.print(line, highlight=False, markup=False, soft_wrap=True)
