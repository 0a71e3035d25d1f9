"""What a run is going to be, from flags and from the model it starts from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from models.architecture import Architecture
from models.bundle import BrokenBundle, Manifest, verify
from models.errors import UserError
from models.preprocessing import InputSpec
from training.flags import choose_architecture, choose_input, read_fractions, read_settings, training_flags
from training.index import BadData
from training.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """Attributes:
    start: the bundle to start from, of which `known` is the manifest; None from scratch.
    """

    architecture: Architecture
    spec: InputSpec
    settings: Settings
    fractions: tuple[float, float]
    start: Path | None
    known: Manifest | None

    @property
    def origin(self) -> dict[str, Any]:
        """What the lineage says of the start."""
        from training.fine_tuning import lineage_of

        return {"from": lineage_of(self.known, self.start) if self.start and self.known else None}


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
    settings = read_settings(architecture, data, spec, flags, known)
    return Plan(architecture, spec, settings, read_fractions(flags), start, known)


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
