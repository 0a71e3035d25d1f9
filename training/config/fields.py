"""One declaration for each setting of a training run: its type, default, range and meaning.

`training.config.flags` makes the command-line flags of them, `training.config.recipes` and a job's `[training]` table
check TOML keys by them, and `striate train --help` prints them.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from models.errors import UserError

Group = Literal["run", "optimizer", "schedule", "regularization", "augmentation", "precision"]

OLD_NAMES = {  # of settings in recipes, jobs, flags and config.json files of earlier versions
    "shift_rate": "bn_bias_lr_scale",
    "decayed": "decay_params",
    "colour": "pca_noise",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting beside its name, type and default."""

    meaning: str  # one sentence; what the default depends on stands in brackets at its end
    group: Group
    least: float | None = None  # least, most: the range of a number, ends included
    most: float | None = None
    above: float | None = None  # above, below: the range of a number, ends excluded
    below: float | None = None
    everyday: bool = False  # shown first in `--help`
    depends: bool = False  # the default depends on the network or the data, so that the flag has none


def setting(default: Any, meaning: str, group: Group, **limits: Any) -> Any:
    """A dataclass field that is a setting; `limits` are the further attributes of `Setting`."""
    return dataclasses.field(default=default, metadata={"setting": Setting(meaning, group, **limits)})


def settings_of(*classes: type) -> Iterable[tuple[dataclasses.Field[Any], Setting]]:
    """The settings that dataclasses declare, in their order."""
    for kind in classes:
        for field in dataclasses.fields(kind):
            if "setting" in field.metadata:
                yield field, field.metadata["setting"]


def with_new_names(table: dict[str, Any]) -> dict[str, Any]:
    """The same values, under today's names; those of an augmentation in it, too.

    Raises:
        UserError: a setting is there under both of its names.
    """
    twice = [name for name in table if OLD_NAMES.get(name) in table]
    if twice:
        raise UserError(f"{twice[0]} is the old name of {OLD_NAMES[twice[0]]}: give one of them.")
    renamed = {OLD_NAMES.get(name, name): value for name, value in table.items()}
    augmentation = renamed.get("augmentation")
    return {**renamed, "augmentation": with_new_names(augmentation)} if isinstance(augmentation, dict) else renamed
