"""What a run is going to be, from flags and from the model it starts from."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from models.bundle.manifest import BrokenBundle, Manifest, verify
from models.bundle.preprocessing import InputSpec
from models.errors import UserError
from models.networks.architecture import Architecture
from models.networks.registry import architecture_of
from models.store.history import version_of
from training.config.augmentation import Augmentation
from training.config.flags import training_flags
from training.config.recipes import DEFAULT
from training.config.settings import (
    FINE_TUNING,
    FULL_RATE_STEPS,
    OF_PHOTOGRAPHS,
    PHOTOGRAPH,
    Settings,
    default_learning_rate,
    run_length,
    settings_for,
)
from training.data.dataset import resolve
from training.data.index import BadData
from training.data.named_sets import DATA_SETS
from training.data.sample import sample_images
from training.evaluate.trained_on import started_from


@dataclass(frozen=True, slots=True)
class Plan:
    """Attributes:
    settings: with a default learning rate as it is in long runs: `settings_for` has what a run is trained by.
    has_default_rate: nobody has given a learning rate.
    start: the bundle to start from, of which `known` is the manifest; None from scratch.
    """

    architecture: Architecture
    spec: InputSpec
    settings: Settings
    has_default_rate: bool
    fractions: tuple[float, float]
    start: Path | None
    known: Manifest | None

    def settings_for(self, num_images: int) -> Settings:
        """The settings of a run on so many training images; a default learning rate is fitted to its batches and steps.

        Weights that are good already do not need a lower rate in a short run.
        """
        if not self.has_default_rate:
            return self.settings
        num_steps = FULL_RATE_STEPS if self.start else run_length(self.settings, num_images).num_steps
        batch_size = min(self.settings.batch_size, num_images)
        rate = default_learning_rate(self.architecture, self.settings.optimizer, batch_size, num_steps)
        return replace(self.settings, learning_rate=FINE_TUNING * rate if self.start else rate)

    @property
    def started_from(self) -> dict[str, Any] | None:
        return started_from(self.known, self.start) if self.start and self.known else None

    def origin(self, model: str, exports: Path) -> dict[str, Any]:
        """What the lineage of a model says of the start: which version of which model it is, where it is published.

        A version of this model is the parent; one of another model is not, since its number says nothing here.
        """
        if not self.start or not self.known:
            return {"from": None, "parent_version": None}
        version = version_of(self.start, exports / self.known.model)
        parent = version if self.known.model == model else None
        return {"from": {**started_from(self.known, self.start), "version": version}, "parent_version": parent}


def make_plan(data: str, cache: Path, flags: dict[str, Any], start: Path | None) -> Plan:
    """
    Args:
        flags: as click parsed them; its context has to be the current one.

    Raises:
        BrokenBundle: the start does not verify.
        UserError, click.UsageError: flags, network, input and start do not go together.
    """
    known = verify(start) if start else None
    architecture = choose_architecture(flags, known)
    spec = choose_input(data, architecture, cache, flags, known)
    architecture.check_size(spec.shape)
    settings = read_settings(architecture, data, spec, flags)
    has_default_rate = flags["learning_rate"] is None
    return Plan(architecture, spec, settings, has_default_rate, read_fractions(flags), start, known)


@click.command("training")
@training_flags
def flags_alone(**flags: Any) -> None:
    """What the table `[training]` of a job can say."""


def plan_of_table(table: dict[str, Any], data: str, cache: Path, start: Path | None) -> Plan:
    """The same, from a table of flags without their dashes.

    Raises:
        BadTable: it says something that is no flag of training, or that does not go together.
    """
    try:
        with flags_alone.make_context("[training]", list(arguments_of(table))) as context:
            return make_plan(data, cache, context.params, start)
    except (click.UsageError, UserError) as error:
        if isinstance(error, BadData | BrokenBundle):
            raise
        said = error.format_message() if isinstance(error, click.UsageError) else str(error)
        hint = ' start = "scratch" begins without the live version.' if start else ""
        raise BadTable(f"[training]: {said} `python -m training fit --help` has what it can say.{hint}") from None


class BadTable(UserError):
    """The table `[training]` of a job says what cannot be done."""


def arguments_of(table: dict[str, Any]) -> list[str]:
    """{"epochs": 3, "flip": false, "drop_at": [0.5]} -> --epochs 3 --no-flip --drop-at 0.5"""
    arguments: list[str] = []
    for name, value in table.items():
        flag = name.replace("_", "-")
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, bool):
                arguments.append(f"--{'' if each else 'no-'}{flag}")
            else:
                arguments += [f"--{flag}", str(each)]
    return arguments


def choose_architecture(flags: dict[str, Any], start: "Manifest | None") -> "Architecture":
    """What was asked for; that of the model to start from, where there is one.

    Raises:
        UserError: there is no such network.
        click.UsageError: the model to start from is another.
    """

    chosen = architecture_of(flags["architecture"])
    if start is None:
        return chosen
    if was_typed("architecture") and chosen.name != start.architecture:
        raise click.UsageError(f"--from is a {start.architecture}, and --model says {chosen.name}.")
    return architecture_of(start.architecture)


def choose_input(
    data: str, architecture: "Architecture", cache: Path, flags: dict[str, Any], start: "Manifest | None" = None
) -> InputSpec:
    """What was asked for; otherwise that of the model to start from, or what suits the network and the images."""

    if start is not None:
        old = start.input_spec
        height, width = (flags["size"],) * 2 if flags["size"] else (old.height, old.width)
        resize = flags["resize"] if was_typed("resize") else old.resize
        return InputSpec(height, width, int(flags["channels"] or old.channels), resize)
    if flags["size"] and flags["channels"]:
        side, channels = flags["size"], int(flags["channels"])
    else:
        sample = sample_images(resolve(data, cache))
        side = flags["size"] or architecture.side_for(sample.median_side, sample.num_files)
        channels = int(flags["channels"] or (1 if sample.all_grey else 3))
    return InputSpec(side, side, channels, flags["resize"])


def read_settings(architecture: "Architecture", data: str, spec: InputSpec, flags: dict[str, Any]) -> Settings:
    """The recipe's values, or the flags' where they were given."""
    if flags["recipe"] == DEFAULT and min(spec.height, spec.width) >= PHOTOGRAPH:
        flags = {**flags, **{name: value for name, value in OF_PHOTOGRAPHS.items() if not was_typed(name)}}
    chosen = {f.name: flags[f.name] for f in fields(Settings) if f.name in flags and f.name != "architecture"}
    typed = {name for name in ("epochs", "steps") if was_typed(name)}
    if len(typed) == 2:
        raise click.UsageError("--epochs and --steps both say how long to train; give one of them.")
    if typed == {"epochs"}:
        chosen["steps"] = 0  # a recipe's steps give way to epochs that were typed
    augmentation = {f.name: flags[f.name] for f in fields(Augmentation)}
    if augmentation["flip"] is None:
        augmentation["flip"] = data not in DATA_SETS or DATA_SETS[data].mirrors
    return settings_for(architecture, **chosen, augmentation=Augmentation(**augmentation))


def read_fractions(flags: dict[str, Any]) -> tuple[float, float]:
    """Of validation and test: `--val 10` is `--split 80/10/10`."""
    if flags["val"] is None:
        return flags["fractions"]
    if was_typed("fractions"):
        raise click.UsageError("--split and --val both say what is held out; give one of them.")
    return flags["val"] / 100, flags["val"] / 100


def was_typed(flag: str) -> bool:
    return click.get_current_context().get_parameter_source(flag) is click.core.ParameterSource.COMMANDLINE
