"""Recipes: how a paper or a lecture trained its network, as TOML files in `training/recipes`.

A recipe gives defaults to the flags of `striate train`, by their names. What it leaves out is as in the recipe
`default`, which repeats the defaults of `training.config.settings.Settings` with a reason for each. A flag overrides
either. The comment that opens a file says in its first line what it is, then where it comes from and what it reaches.
"""

import tomllib
from pathlib import Path
from typing import Any

from models.errors import UserError
from models.files.folders import expanded
from models.files.typed import finite, fits
from training.config.fields import with_new_names

RECIPES = Path(__file__).parents[1] / "recipes"
DEFAULT = "default"


def recipe_names() -> list[str]:
    return sorted((path.stem for path in RECIPES.glob("*.toml")), key=lambda name: (name != DEFAULT, name))


def read_recipe(name: str) -> str:
    """The text of a recipe, by its name or by the path of a TOML file.

    Raises:
        UserError: there is none.
    """
    path = RECIPES / f"{name}.toml" if name in recipe_names() else expanded(name)
    if path.suffix != ".toml" or not path.is_file():
        raise UserError(f"No recipe is called {name!r}; choose from {', '.join(recipe_names())}, or give a TOML file.")
    return path.read_text(encoding="utf-8", errors="replace")


def describe_recipe(name: str) -> str:
    """The first line of the comment that opens a recipe."""
    return read_recipe(name).splitlines()[0].removeprefix("# ")


def parse_recipe(name: str, kinds: dict[str, Any]) -> dict[str, Any]:
    """{flag: value}.

    Args:
        kinds: the annotated type of each field that a recipe can set.

    Raises:
        UserError: the recipe does not exist, is not valid TOML, or has an unknown key or a value of the wrong type.
    """
    text = read_recipe(name)
    try:
        recipe = with_new_names(tomllib.loads(text, parse_float=finite))
    except ValueError as error:
        raise UserError(f"The recipe {name} is not valid TOML: {error}.") from error
    for field, value in recipe.items():
        if field not in kinds:
            raise UserError(f"The recipe {name} says {field!r}; what it can say is {', '.join(sorted(kinds))}.")
        if not fits(value, kinds[field]):
            raise UserError(f"The recipe {name} has {field} = {value!r}, which is not of the type of that flag.")
    return recipe
