"""What several commands share: options, and how they speak."""

import shlex
import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from training.config.flags import everyday
from training.data.named_sets import DATA_SETS

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
EXPORTS = click.option(
    "--exports",
    type=click.Path(path_type=Path, file_okay=False),
    default="exports",
    show_default=True,
    help="Folder of published models.",
)
PUBLISH = everyday("--publish", is_flag=True, help="Publish the bundle and make it live, if it passes a check.")
FORCE = click.option(
    "--force",
    is_flag=True,
    help="Publish also what fails the check: it has not learnt anything, or the live version is better.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
REFUSED = 3  # the exit code where a model is not published because it failed the check
REFUSED_EPILOG = (
    f"Exit code {REFUSED}: everything was done, and the model was not published, since it failed the check."
)


def say(console: Console, *lines: str) -> None:
    """Print lines as they are: without colours, markup, or line breaks that the console would insert."""
    for line in lines:
        line = line.encode("utf-8", "backslashreplace").decode()  # file names may be no Unicode
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def refuse(reason: str, bundle: Path, exports: Path) -> NoReturn:
    """Print why a model was not published, and the command that publishes it all the same; exit with REFUSED."""
    elsewhere = "" if exports == Path("exports") else f" --exports {shlex.quote(str(exports))}"
    command = f"python -m training publish {shlex.quote(str(bundle))} --force{elsewhere}"
    click.echo(f"Not published: {reason}\nTo publish it all the same: {command}", err=True)
    sys.exit(REFUSED)
