"""The commands that look at a folder of images: `audit` and `preview`."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from models.process.commands import explained
from models.process.quiet import import_quietly
from training.cli.deferred import auditing, dataset, plans, previewing
from training.cli.options import AS_JSON, CACHE, DATA, say
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
    """Look for what is wrong with a folder of images.

    Files that cannot be read, copies and near copies, pictures with two labels, classes of few images, odd formats.
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
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="preview.png", help="A PNG.")
@CACHE
@explained
def preview(data: str, output: Path, cache: Path, **flags: Any) -> None:
    """Draw what a network will see.

    Images as they are, and as a recipe's augmentation shows them.
    """
    import_quietly("tensorflow", "keras")
    found = dataset.find_images(data, cache, labels=labels_of_flags())
    say(Console(stderr=True), *found.index.notes)
    plan = plans.make_plan(found, layers_of_flags(), None)
    decoded = dataset.decode_folder(found.index, plan.spec, cache, Console(stderr=True))
    picture = previewing.draw_preview(decoded, plan.settings.augmentation, seed=plan.settings.seed)
    picture.save(output, "PNG")
    click.echo(f"{output}: {picture.width}x{picture.height} pixels")
