"""The commands that work on a bundle or on runs: `compare`, `evaluate`, `quantize`, `export`, `publish`, `filters`."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from models.bundle.manifest import IMPORTED, read_manifest, verify
from models.errors import UserError
from models.files.durable import write_durably
from models.process.commands import explained
from models.process.quiet import import_quietly
from models.store import publish as published
from models.store.history import find_bundle
from models.store.option import EXPORTS
from training.cli.deferred import (
    comparison,
    converting,
    drawing,
    evaluation,
    labelling,
    measuring,
    publish_check,
    quantizing,
)
from training.cli.options import (
    AS_JSON,
    BUNDLE,
    CACHE,
    FORCE,
    LABELLED_DATA,
    PUBLISH,
    REFUSED_EPILOG,
    refuse,
    say,
)
from training.config.flags import Finite, Fractions
from training.config.label_flags import label_flags, labels_of_flags

ANSWERS = "File for all answers: .parquet with the probability of each class, or .csv."


@click.command()
@BUNDLE
@LABELLED_DATA
@label_flags
@AS_JSON
@click.option("--flips", is_flag=True, help="Average the answers for each image and its mirror image.")
@click.option("--predictions", type=click.Path(path_type=Path, dir_okay=False), help=ANSWERS)
@CACHE
@explained
def evaluate(
    bundle: Path, data: str, as_json: bool, flips: bool, predictions: Path | None, cache: Path, **_: Any
) -> None:
    """Measure a bundle, or the bundle of a run, on every image of a labelled folder."""
    import_quietly("tensorflow", "keras")
    labels, console = labels_of_flags(), Console(stderr=True)
    answers, images = evaluation.evaluate(find_bundle(bundle), data, cache, console, flips=flips, labels=labels)
    say(console, *images.pop("notes"))
    if predictions:
        answers.write(predictions)
    metrics: dict[str, Any] = {**measuring.measure(answers), **images}
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


def said_of_trained_on(images: dict[str, Any]) -> str:
    """How many of the images the model has seen, which make its figures flatter."""
    if images["trained_on"] is None:
        return "an unknown number of these images: the bundle does not list what it was trained on"
    said = f"{images['trained_on']:,} of these images, and near duplicates of {images['near_trained_on']:,} others"
    ancestors = ", ".join(images["unknown_ancestors"])
    return f"{said}; it is made from {ancestors}, and what that was trained on is unknown" if ancestors else said


@click.command(epilog=REFUSED_EPILOG)
@BUNDLE
@click.option(
    "--data",
    required=True,
    help="Data that the bundle was trained on; for an imported model, labelled images.",
)
@label_flags
@click.option(
    "--max-drop", type=Finite(0, 1), default=0.01, help="Maximum loss of accuracy on held-out images, as a fraction."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The new bundle. [default: BUNDLE-int8]")
@click.option("--split", type=Fractions(), help="Ignored: the bundle records what it was trained on.")
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
    **_: Any,
) -> None:
    """Make an 8-bit version of a bundle. It is refused if it loses too much accuracy."""
    import_quietly("nncf")
    bundle = find_bundle(bundle)
    target = output or bundle.resolve().with_name(f"{bundle.name}-int8")
    if target.exists():
        raise UserError(f"{target} is there already; delete it, or choose another --output.")
    manifest, console = verify(bundle), Console()
    if split:
        click.echo("--split has no effect: the bundle says which images it was trained on.", err=True)
    quantizing.check_kind(manifest)
    if manifest.architecture == IMPORTED:
        click.echo(f"{manifest.model} was imported: it may have been trained on some of these images.", err=True)
    labelled = labelling.read_labelled(bundle, manifest, data, cache, console, labels_of_flags())
    found = quantizing.quantize(bundle, labelled, target, max_drop=max_drop, console=console)
    say(console, f"right on {found}", found.about_classes, f"8-bit bundle: {target}")
    if publish:
        version, refusal = publish_check.publish_checked(target, exports, published.publish, force=force)
        if refusal:
            refuse(refusal, target, exports)
        say(console, f"published and live: {exports / manifest.model / str(version)}")


@click.command()
@BUNDLE
@click.option(
    "--format",
    "kind",
    type=click.Choice(["onnx", "litert"]),
    required=True,
    help="onnx: for ONNX Runtime and others; litert: a .tflite file, for phones and small devices.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file. [default: MODEL.onnx]")
@explained
def export(bundle: Path, kind: str, output: Path | None) -> None:
    """Write a bundle as an ONNX or a LiteRT file.

    The file is kept only if its probabilities differ from those of the bundle by at most 0.001. FILE.json beside it
    describes the input and names the classes.
    """
    import_quietly("tensorflow")
    bundle = find_bundle(bundle)
    target = output or Path(read_manifest(bundle).model + converting.FORMATS[kind].suffix)
    done = converting.convert(bundle, kind, target)
    click.echo(
        f"{target}: {target.stat().st_size / 1e6:.1f} MB; on {done.num_images} images its probabilities differ by at "
        f"most {done.difference:.1g} from those of the bundle\n{done.about}: input and class names"
    )


@click.command(epilog=REFUSED_EPILOG)
@BUNDLE
@click.option("--live/--not-live", default=True, help="Make the version live. --not-live needs no check.")
@FORCE
@EXPORTS
@explained
def publish(bundle: Path, live: bool, force: bool, exports: Path) -> None:
    """Publish a bundle, or the bundle of a run, as the next version of its model."""
    found = find_bundle(bundle)
    model = read_manifest(found).model
    how = partial(published.publish, make_live=live)
    version, refusal = publish_check.publish_checked(found, exports, how, force=force or not live)
    if refusal:
        refuse(refusal, bundle, exports)
    click.echo(f"published{' and live' if live else ''}: {exports / model / str(version)}")


@click.command()
@click.argument("first", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("second", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="compare.html", help="Page to write."
)
@explained
def compare(first: Path, second: Path, output: Path) -> None:
    """Say which of two runs is better, and write a page with both beside each other."""
    runs = comparison.read_run(first), comparison.read_run(second)
    write_durably(output, comparison.page(*runs))
    click.echo("\n".join([*comparison.in_words(*runs), f"the page: {output}"]))


@click.command()
@BUNDLE
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="filters.png", help="PNG file to write."
)
@click.option(
    "--image",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Image whose feature maps are drawn. [default: the first golden image of the bundle]",
)
@explained
def filters(bundle: Path, output: Path, image: Path | None) -> None:
    """Draw the first filters of a bundle or run, and what each stage makes of an image."""
    import_quietly("tensorflow", "keras")
    picture = drawing.draw(find_bundle(bundle), image)
    picture.save(output, "PNG")
    click.echo(f"{output}: {picture.width}x{picture.height} pixels")
