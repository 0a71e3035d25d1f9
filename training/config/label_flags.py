"""The flags by which a table names the classes of images, and by which images are grouped."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

import click

from training.config.flags import Command, Flag, with_flags
from training.sources.labels import BadLabels, Labels

HEADING = "Labels in a table, and groups"
of_labels = partial(click.option, cls=Flag, heading=HEADING)
A_FILE = click.Path(path_type=Path)
LABEL_FLAGS: tuple[Callable[[Command], Command], ...] = (
    of_labels(
        "--labels",
        "file",
        type=A_FILE,
        metavar="TABLE",
        help="CSV, JSON Lines or Parquet with a row for each image of --data; without it folders name the classes.",
    ),
    of_labels("--path-column", metavar="NAME", help="Column of the images' paths. [default: guessed]"),
    of_labels("--label-column", metavar="NAME", help="Column of the classes. [default: guessed; or one-hot columns]"),
    of_labels("--split-column", metavar="NAME", help="Column that says train, val or test. [default: guessed]"),
    of_labels("--class-names", type=A_FILE, metavar="FILE", help="Names of classes that the table numbers."),
)
GROUP_FLAGS: tuple[Callable[[Command], Command], ...] = (
    of_labels("--group-column", metavar="NAME", help="Column of groups, each of which is on one side of the split."),
    of_labels(
        "--group-by",
        metavar="REGEX",
        help="Regular expression that finds the group of an image in its path, relative to --data: its first capturing "
        "group, or all that it matches.",
    ),
)


def label_flags(command: Command) -> Command:
    """Give a command the flags of a table."""
    return with_flags(command, LABEL_FLAGS)


def group_flags(command: Command) -> Command:
    """Give a command the flags of groups."""
    return with_flags(command, GROUP_FLAGS)


def labels_of_flags() -> Labels:
    """Of the command that is being run.

    Raises:
        click.UsageError: the flags do not go together.
    """
    typed = click.get_current_context().params
    try:
        return Labels(**{field.name: typed[field.name] for field in fields(Labels) if typed.get(field.name)})
    except BadLabels as error:
        raise click.UsageError(str(error)) from error
