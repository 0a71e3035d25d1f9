"""The flags of `python -m training fit` that say how a network is trained, and what they come to.

A recipe's values are the defaults of those flags; a flag that is typed overrides it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

import click

from models.errors import UserError
from training.augment.geometric import Edge
from training.augment.pipeline import Augmentation
from training.config.recipes import DEFAULT, parse_recipe
from training.config.settings import (
    BATCH_SIZE,
    ClassWeights,
    Decayed,
    Dropout,
    Optimizer,
    Precision,
    Schedule,
    Settings,
    choices,
)

if TYPE_CHECKING:  # it imports Keras
    pass


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


def follow_recipe(context: click.Context, _: click.Parameter, name: str) -> str:
    """What the recipe says becomes the default of the flags of the same name."""
    kinds = {**get_type_hints(Settings), **get_type_hints(Augmentation)}
    flags = {parameter.name for parameter in context.command.params} - {"architecture", "recipe"}
    try:
        said = parse_recipe(name, {"model": str} | {field: kinds[field] for field in kinds if field in flags})
    except (UserError, OSError) as error:
        raise click.BadParameter(str(error)) from error
    context.default_map = {"architecture" if field == "model" else field: value for field, value in said.items()}
    return name


FLAGS = (
    click.option(
        "--model", "architecture", default="resnet18", help="A network: `python -m models list` has them all."
    ),
    click.option(
        "--recipe",
        default=DEFAULT,
        is_eager=True,
        callback=follow_recipe,
        help="Sets the defaults of --model and of all flags to --cutmix: a name of `training recipes`, or a TOML file. "
        "`default` has others for photographs (docs/training.md).",
    ),
    click.option(
        "--epochs", type=click.IntRange(0), default=0, help="Epochs at most; 0: 30, and up to 200 for few images."
    ),
    click.option(
        "--steps", type=click.IntRange(0), default=0, help="Length in steps, up to whole epochs; 0: in epochs."
    ),
    click.option("--batch-size", type=click.IntRange(1), default=BATCH_SIZE, help="Images in a step."),
    click.option("--optimizer", type=click.Choice(choices(Optimizer)), default="sgd"),
    click.option(
        "--learning-rate",
        type=Finite(0, min_open=True),
        help="At its peak. [default: the network's; a tenth of it with --from]",
    ),
    click.option("--schedule", type=click.Choice(choices(Schedule)), default="cosine", help="How the rate falls."),
    click.option("--warmup-epochs", type=click.IntRange(0), default=1, help="Epochs in which the cosine rises first."),
    click.option(
        "--peak-at",
        type=Finite(0, 1, min_open=True, max_open=True),
        default=0.23,
        help="Of `one-cycle`: the fraction of the run at which the rate is highest.",
    ),
    click.option(
        "--drop-factor",
        type=Finite(0, 1, min_open=True),
        default=0.1,
        help="What `steps`, `exponential` and `plateau` multiply the rate by.",
    ),
    click.option(
        "--drop-at",
        type=Finite(0, 1, min_open=True, max_open=True),
        multiple=True,
        help="Of `steps`: after this fraction of the run; may be given more than once.",
    ),
    click.option("--drop-every", type=click.IntRange(0), default=0, help="Of `exponential`: epochs from drop to drop."),
    click.option("--plateau-epochs", type=click.IntRange(0), default=0, help="Of `plateau`: epochs without gain."),
    click.option("--momentum", type=Finite(0, 1, max_open=True), default=0.9, help="Of SGD."),
    click.option("--nesterov/--no-nesterov", default=True, help="Of SGD."),
    click.option("--weight-decay", type=Finite(0), default=5e-4, help="Part of the gradient, as an L2 penalty is."),
    click.option("--decoupled-weight-decay", type=Finite(0), default=0.0, help="Beside the gradient, as AdamW has it."),
    click.option(
        "--decayed", type=click.Choice(choices(Decayed)), default="kernels", help="What weight decay acts on."
    ),
    click.option(
        "--shift-rate",
        type=Finite(0, min_open=True),
        default=1.0,
        help="Multiple of the rate for shifts of batch normalisation.",
    ),
    click.option("--clip-norm", type=Finite(0), help="Longest gradient. [default: 5; 0 with batch normalisation]"),
    click.option(
        "--dropout",
        type=DropoutRate(),
        metavar="RATE|paper",
        help="[default: the paper's; of a small network with many images 0]",
    ),
    click.option(
        "--class-weights",
        type=click.Choice(choices(ClassWeights)),
        default="none",
        help="What an image of a small class counts for.",
    ),
    click.option(
        "--label-smoothing",
        type=Finite(0, 1, max_open=True),
        default=0.0,
        help="Share of each target that is spread over all classes.",
    ),
    click.option(
        "--ema",
        type=Finite(0, 1, max_open=True),
        default=0.0,
        help="Of the weights: share that stays; 0 is off.",
    ),
    click.option(
        "--lookahead", type=click.IntRange(0), default=0, help="Steps between returns to slow weights; 0 is off."
    ),
    click.option(
        "--freeze-epochs", type=click.IntRange(0), default=0, help="Of --from: epochs in which only new layers learn."
    ),
    click.option(
        "--patience",
        type=click.IntRange(0),
        default=15,
        help="Stop after so many epochs without a lower validation loss, keep the best. 0: to the end, keep the last.",
    ),
    click.option(
        "--mirror-answers/--no-mirror-answers",
        default=False,
        help="The exported model asks the network about the mirror image as well: better answers, in twice the time.",
    ),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="One seed, one result."),
    click.option("--precision", type=click.Choice(choices(Precision)), default="auto"),
    click.option(
        "--flip/--no-flip", default=None, help="Mirror at random. [default: on, but for the data sets digits and mnist]"
    ),
    click.option("--alternate/--no-alternate", default=False, help="Mirror every image in every other epoch instead."),
    click.option("--shift", type=Finite(0, 0.5), default=0.1, help="At most this fraction of the side; 0 is off."),
    click.option("--edge", type=click.Choice(choices(Edge)), default="mirror", help="What a shift brings in."),
    click.option("--min-area", type=Finite(0, 1, min_open=True), default=1.0, help="Of a random crop; 1 is off."),
    click.option("--rotation", type=Finite(0, 180), default=0.0, help="At most ± this, in degrees."),
    click.option("--contrast", type=Finite(0, 1), default=0.2, help="Factor within 1 ± this; 0 is off."),
    click.option("--colour", type=Finite(0, 1), default=0.0, help="AlexNet's colour noise; the paper has 0.1."),
    click.option("--brightness", type=Finite(0, 1), default=0.1, help="At most ± this of the range; 0 is off."),
    click.option("--saturation", type=Finite(0, 1), default=0.0, help="Factor within 1 ± this; 0 is off."),
    click.option(
        "--cutout",
        type=Finite(0, 1),
        default=0.0,
        help="Side of a grey square, of the shorter side; 0 is off.",
    ),
    click.option("--mixup", type=Finite(0), default=0.0, help="Alpha by which two images are mixed; 0 is off."),
    click.option("--cutmix", type=Finite(0), default=0.0, help="Alpha by which a piece is exchanged; 0 is off."),
    click.option(
        "--size",
        type=click.IntRange(8, 2048),
        help="Height and width of the input. [default: by network and data; 128 below 5,000 photographs]",
    ),
    click.option("--channels", type=click.Choice(["1", "3"]), help="[default: 1 where all images are grey, else 3]"),
    click.option("--resize", type=click.Choice(["crop", "squash", "pad"]), default="crop"),
    click.option(
        "--split", "fractions", type=Fractions(), default="70/15/15", help="Percent; a folder's own splits stay."
    ),
    click.option(
        "--val",
        type=click.IntRange(0, 40),
        help="As much percent to validate as to test. 0: train on all, last weights, nothing measured.",
    ),
)


def training_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all FLAGS, in their order."""
    for flag in reversed(FLAGS):
        command = flag(command)
    return command
