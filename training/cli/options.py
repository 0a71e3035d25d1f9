"""What several commands share: options, and how they speak."""

import shlex
import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from models.bundle.manifest import read_manifest
from models.store import publish as published
from training.config.flags import everyday
from training.data.named_sets import DATA_SETS
from training.weights.sources import SOURCES

BUNDLE = click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
DATA = click.argument("data", metavar="PATH")
LABELLED_DATA = everyday(
    "--data",
    required=True,
    help=f"Folder (or zip, tar) with a folder of images for each class, or one of {', '.join(DATA_SETS)}.",
)
CACHE = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=".cache",
    show_default=True,
    help="Folder of decoded images and named data sets.",
)
START = everyday(
    "--from",
    "start",
    metavar="BUNDLE|RUN|NETWORK|scratch",
    help=f"Start from the weights of this model, whose classes may be others, or from those that a package carries of "
    f"{' or '.join(SOURCES)} (`striate weights`); scratch: from random weights. [default: for photographs "
    "efficientnet_lite2, or --model where that has weights; else scratch]",
)
PUBLISH = everyday("--publish", is_flag=True, help="Publish the bundle and make it live if it passes a check.")
FORCE = click.option(
    "--force",
    is_flag=True,
    help="Publish even if the check fails: the model has not learnt anything, or the live version is better.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
REFUSED = 3  # the exit code where a model is not published because it failed the check
REFUSED_EPILOG = (
    f"Exit code {REFUSED}: everything else was done, but the model was not published, since it failed the check."
)


def say(console: Console, *lines: str) -> None:
    """Print lines as they are: without colours, markup, or line breaks that the console would insert."""
    for line in lines:
        line = line.encode("utf-8", "backslashreplace").decode()  # file names may be no Unicode
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def refuse(reason: str, bundle: Path, exports: Path) -> NoReturn:
    """Print why a model was not published, and the command that publishes it all the same; exit with REFUSED."""
    click.echo(f"Not published: {reason}\nTo publish it all the same: {forced_publish(bundle, exports)}", err=True)
    sys.exit(REFUSED)


def forced_publish(bundle: Path, exports: Path) -> str:
    """The command, as it can be pasted."""
    elsewhere = "" if exports == Path("exports") else f" --exports {shlex.quote(str(exports))}"
    return f"striate publish {shlex.quote(str(bundle))} --force{elsewhere}"


def hand_over(bundle: Path, exports: Path, *, publish: bool) -> None:
    """Say where the bundle of a model from elsewhere lies; publish it, or say how. The check knows nothing of such."""
    click.echo(f"bundle: {bundle}")
    if publish:
        version = published.publish(bundle, exports)
        click.echo(f"published and live: {exports / read_manifest(bundle).model / str(version)}")
    else:
        click.echo(f"publish it with: {forced_publish(bundle.parent, exports)}")
