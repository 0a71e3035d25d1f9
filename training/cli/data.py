"""The commands that look at a folder of images: `audit` and `preview`."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from models.process.commands import explained
from models.process.quiet import import_quietly
from training.cli.deferred import auditing, dataset, plans, previewing, starts
from training.cli.options import AS_JSON, CACHE, DATA, START, say
from training.config.flags import training_flags
from training.config.label_flags import group_flags, label_flags, labels_of_flags
from training.config.layers import layers_of_flags


@click.command()
@DATA
@AS_JSON
@label_flags
@group_flags
@CACHE
@explained
def audit(data: str, as_json: bool, cache: Path, **_: Any) -> None:
    """Find problems in a folder of images.

    It reports files that cannot be read, copies and near copies, pictures with two labels, small classes, and odd
    formats.
    """
    console = Console(stderr=True)
    index = dataset.find_images(data, cache, labels=labels_of_flags()).index
    decoded = dataset.decode_folder(index, auditing.SPEC, cache, console, however_few=True)
    found = auditing.audit(decoded, index)
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    say(Console(), *auditing.statistics(found), *(auditing.summary(found) or ["nothing odd was found"]))


@click.command()
@DATA
@label_flags
@training_flags
@START
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="preview.png", help="PNG file to write."
)
@CACHE
@explained
def preview(data: str, start: str | None, output: Path, cache: Path, **_: Any) -> None:
    """Draw images as the network will see them.

    It draws images as they are, and as `striate train` with the same flags augments them.
    """
    import_quietly("tensorflow", "keras")
    found = dataset.find_images(data, cache, labels=labels_of_flags())
    console = Console(stderr=True)
    say(console, *found.index.notes)
    layers = layers_of_flags()
    plan = plans.make_plan(found, layers, starts.find_start(start, found, layers, cache, console))
    decoded = dataset.decode_folder(found.index, plan.spec, cache, console)
    picture = previewing.draw_preview(decoded, plan.settings.augmentation, seed=plan.settings.seed)
    picture.save(output, "PNG")
    click.echo(f"{output}: {picture.width}x{picture.height} pixels")
