"""What a run is going to be, from flags and from the model it starts from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from models.bundle.manifest import BrokenBundle, Manifest, verify
from models.bundle.preprocessing import InputSpec
from models.errors import UserError
from models.networks.architecture import Architecture
from models.store.history import version_of
from training.config.flags import choose_architecture, choose_input, read_fractions, read_settings, training_flags
from training.config.settings import FINE_TUNING, FULL_RATE_STEPS, Settings, default_learning_rate, run_length
from training.data.index import BadData
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
