"""The settings of a run are merged once from layers: defaults, a recipe, and what a person gave.

Each value keeps the name of the layer that it comes from.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from models.errors import UserError
from training.config.fields import with_new_names
from training.config.flags import recipe_kinds, training_flags
from training.config.recipes import DEFAULT, parse_recipe

BY_DEFAULT, BY_FLAG, BY_JOB = "default", "flag", "job"


@click.command("training")
@training_flags
def declared(**flags: Any) -> None:
    """Every setting of training, as `fit` declares it."""


PARAMETERS = {str(option.name): option for option in declared.params if isinstance(option, click.Option)}
KEYS = {  # in recipes and jobs: the flag without its dashes
    flag.removeprefix("--").replace("-", "_"): name for name, parameter in PARAMETERS.items() for flag in parameter.opts
}


@dataclass(frozen=True, slots=True)
class Layers:
    values: Mapping[str, Any]  # of all settings, by the names of `PARAMETERS`
    sources: Mapping[str, str]  # the layer that each value comes from

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def is_given(self, name: str) -> bool:
        """Whether a person gave the value, by a flag or in a job."""
        return self.sources[name] in (BY_FLAG, BY_JOB)

    def over(self, values: Mapping[str, Any], source: str) -> "Layers":
        """With one more layer on top."""
        return Layers({**self.values, **values}, {**self.sources, **dict.fromkeys(values, source)})

    def under_what_is_given(self, values: Mapping[str, Any], source: str) -> "Layers":
        """With one more layer, below what a person gave."""
        return self.over({name: value for name, value in values.items() if not self.is_given(name)}, source)


def layers_of(given: Mapping[str, Any], source: str) -> Layers:
    """
    Args:
        given: values by the names of `PARAMETERS`.
        source: BY_FLAG or BY_JOB.
    """
    defaults = declared.make_context("training", []).params
    layers = Layers(defaults, dict.fromkeys(defaults, BY_DEFAULT))
    recipe = given.get("recipe", DEFAULT)
    layers = layers.over(values_of_recipe(recipe), BY_DEFAULT if recipe == DEFAULT else f"recipe {recipe}")
    return layers.over(given, source)


def values_of_recipe(recipe: str) -> dict[str, Any]:
    """What a recipe says, by the names of `PARAMETERS`.

    Raises:
        UserError: it cannot be read, or says something that is no setting.
    """
    try:
        return {KEYS[key]: cast(KEYS[key], value) for key, value in parse_recipe(recipe, recipe_kinds()).items()}
    except OSError as error:
        raise UserError(f"The recipe {recipe} cannot be read: {error.strerror}.") from error


def layers_of_flags() -> Layers:
    """Of the command that is being run: what was typed, over its recipe and the defaults."""
    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    given = {name: context.params[name] for name in PARAMETERS if context.get_parameter_source(name) is typed}
    return layers_of(given, BY_FLAG)


def layers_of_table(table: Mapping[str, Any]) -> Layers:
    """Of the table `[training]` of a job: {"epochs": 3, "flip": False, "drop_at": [0.5]}.

    Raises:
        UserError, click.UsageError: a key is not a training setting, or its value has the wrong type or range.
    """
    given: dict[str, Any] = {}
    for key, value in with_new_names({key.replace("-", "_"): value for key, value in table.items()}).items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise UserError(f"{key} is no setting of training{hint}")
        given[KEYS[key]] = cast(KEYS[key], value)
    return layers_of(given, BY_JOB)


def cast(name: str, value: Any) -> Any:
    """A value of a TOML file as the flag of this name would give it.

    Raises:
        click.BadParameter: it is of another type, or out of range.
    """
    parameter = PARAMETERS[name]
    if parameter.is_bool_flag:
        if not isinstance(value, bool):
            raise click.BadParameter(f"{value!r} is neither true nor false.", param=parameter)
        return value
    several = [*value] if isinstance(value, list | tuple) and parameter.multiple else [value]
    if any(isinstance(each, bool) or not isinstance(each, int | float | str) for each in several):
        raise click.BadParameter(f"{value!r} is neither a number nor a text.", param=parameter)
    texts = [str(each) for each in several]  # as they would be typed: 1 is one of the channels "1" and "3"
    return parameter.type_cast_value(click.Context(declared), texts if parameter.multiple else texts[0])
