"""The flags of `striate train` that say how a network is trained, and what they come to.

A recipe's values are the defaults of those flags; a flag that is typed overrides it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from models.errors import UserError
from training.config.augmentation import Augmentation
from training.config.fields import OLD_NAMES, Group, Setting, settings_of
from training.config.recipes import DEFAULT, parse_recipe
from training.config.settings import Dropout, Settings

Command = Callable[..., Any]


class Finite(click.FloatRange):
    """A range that neither `inf` nor `nan` is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class DropoutRate(click.ParamType):
    """A rate, or `paper`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Dropout:
        return "paper" if value == "paper" else Finite(0, 1, max_open=True).convert(value, param, ctx)


class Fractions(click.ParamType):
    """`85/5/10` -> (0.05, 0.1): percentages of training, validation and test, of which the last two are needed.

    `100/0/0` holds nothing out.
    """

    name = "TRAIN/VAL/TEST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if not isinstance(value, str):
            return value
        parts = value.split("/")
        percentages = [int(part) for part in parts if part.isascii() and part.isdecimal()]
        complete = len(parts) == len(percentages) == 3 and sum(percentages) == 100
        if not complete or (not all(percentages) and percentages[0] != 100):
            self.fail(
                f"{value!r} is no split; give three percentages above 0 that add up to 100, such as 70/15/15, or "
                "100/0/0, which holds nothing out."
            )
        return percentages[1] / 100, percentages[2] / 100


def recipe_kinds() -> dict[str, Any]:
    """The settings that a recipe can give, with their types."""
    return {"model": str} | {field.name: HINTS[field.name] for field, _ in settings_of(Settings, Augmentation)}


def check_recipe(_: click.Context, __: click.Parameter, name: str) -> str:
    try:
        parse_recipe(name, recipe_kinds())
    except (UserError, OSError) as error:
        raise click.BadParameter(str(error)) from error
    return name


class Flag(click.Option):
    """An option of `fit` with the heading under which `--help` shows it."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class FlagsByHeading(click.Command):
    """Shows the options that everybody needs first, and the others under the headings of their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {EVERYDAY: []}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                rows.setdefault(getattr(parameter, "heading", OTHERS), []).append(row)
        for heading, records in rows.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def kind_of(field: dataclasses.Field[Any], setting: Setting) -> click.ParamType:
    """What click reads the value of a flag as."""
    annotated = HINTS[field.name]
    if field.name == "dropout":
        return DropoutRate()
    if get_origin(annotated) is Literal:
        return click.Choice(get_args(annotated))
    if annotated is int:
        return click.IntRange(setting.least, setting.most)  # type: ignore[arg-type]
    least, most = (setting.above if setting.least is None else setting.least), setting.most
    most = setting.below if most is None else most
    return Finite(least, most, min_open=setting.above is not None, max_open=setting.below is not None)


def flag_of(field: dataclasses.Field[Any], setting: Setting) -> Callable[[Command], Command]:
    """--batch-size of batch_size, --nesterov/--no-nesterov of nesterov; earlier names of it are read, too."""
    names = [field.name, *(old for old, new in OLD_NAMES.items() if new == field.name)]
    flags = [f"--{name.replace('_', '-')}" for name in names]
    about: dict[str, Any] = {
        "default": None if setting.depends else field.default,
        "help": setting.meaning,
        "heading": EVERYDAY if setting.everyday else HEADINGS[setting.group],
        "cls": Flag,
    }
    if HINTS[field.name] is bool:
        return click.option(*(f"{flag}/--no-{flag[2:]}" for flag in flags), field.name, **about)
    if field.name == "dropout":
        about["metavar"] = "RATE|paper"
    multiple = field.name == "drop_at"
    return click.option(*flags, field.name, type=kind_of(field, setting), multiple=multiple, **about)


EVERYDAY, OTHERS = "Options that most runs need", "Other options"
HEADINGS: dict[Group, str] = {
    "run": "Length and course of the run",
    "optimizer": "Optimizer",
    "schedule": "Schedule of the learning rate",
    "regularization": "Regularization",
    "augmentation": "Augmentation",
    "precision": "Precision",
}
INPUT = "Data and input"
everyday = partial(click.option, cls=Flag, heading=EVERYDAY)
of_input = partial(click.option, cls=Flag, heading=INPUT)
HINTS = {**get_type_hints(Settings), **get_type_hints(Augmentation)}
FLAGS: tuple[Callable[[Command], Command], ...] = (
    everyday("--model", "architecture", default="resnet18", help="Network; `striate networks` prints all."),
    everyday(
        "--recipe",
        default=DEFAULT,
        callback=check_recipe,
        help="Defaults of all training settings: a name of `striate recipes`, or a TOML file. `default` has other "
        "values for photographs.",
    ),
    *(flag_of(field, setting) for field, setting in settings_of(Settings, Augmentation)),
    of_input(
        "--size",
        type=click.IntRange(8, 2048),
        help="Height and width of the input. [default: by network and data; 128 below 5,000 photographs]",
    ),
    of_input(
        "--channels",
        type=click.Choice(["1", "3"]),
        help="Channels of the input. [default: 1 where all images are grey, else 3]",
    ),
    of_input(
        "--resize",
        type=click.Choice(["crop", "squash", "pad"]),
        help="How an image gets the input's size: squash changes its aspect ratio, crop takes its middle, pad puts "
        "black beside it. [default: squash for photographs, else crop]",
    ),
    everyday(
        "--split",
        "fractions",
        type=Fractions(),
        default="70/15/15",
        help="Percentages of images to train, validate and test; a split of the folder itself is kept.",
    ),
    of_input(
        "--val",
        type=click.IntRange(0, 40),
        help="Percent to validate, and as much to test. 0: train on all images, keep the last weights, measure "
        "nothing.",
    ),
)


def training_flags(command: Command) -> Command:
    """Give a command all FLAGS, in their order."""
    return with_flags(command, FLAGS)


def with_flags(command: Command, flags: Sequence[Callable[[Command], Command]]) -> Command:
    """Give a command flags, in their order."""
    for flag in reversed(flags):
        command = flag(command)
    return command
