"""Recipes: how a paper or a lecture trained its network, as TOML files in `training/recipes`.

A recipe gives defaults to the flags of `python -m training fit`, by their names; what it leaves out is as in the
recipe `default`, which is the defaults of `training.settings.Settings` themselves, and a flag overrides either. The
comment that opens a file says in its first line what it is, then where it comes from and what it reaches.
"""

import tomllib
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parent / "recipes"
DEFAULT = "default"
DEFAULT_TEXT = """\
# What a folder of images gets when nothing is said.
# Its values are the defaults that `python -m training fit --help` shows.
"""


def recipe_names() -> list[str]:
    return [DEFAULT, *sorted(path.stem for path in RECIPES.glob("*.toml"))]


def read_recipe(name: str) -> str:
    """The text of a recipe, by its name or by the path of a TOML file.

    Raises:
        ValueError: there is none.
    """
    if name == DEFAULT:
        return DEFAULT_TEXT
    path = RECIPES / f"{name}.toml" if name in recipe_names() else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise ValueError(f"No recipe is called {name!r}; choose from {', '.join(recipe_names())}, or give a TOML file.")
    return path.read_text(encoding="utf-8", errors="replace")


def describe_recipe(name: str) -> str:
    """The first line of the comment that opens a recipe."""
    return read_recipe(name).splitlines()[0].removeprefix("# ")


def parse_recipe(name: str, allowed: set[str]) -> dict[str, Any]:
    """{flag: value}.

    Raises:
        ValueError: there is no such recipe, it is no TOML, or it names something that is not `allowed`.
    """
    try:
        recipe = tomllib.loads(read_recipe(name))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"The recipe {name} is no TOML: {error}.") from error
    unknown = sorted(recipe.keys() - allowed)
    if unknown:
        raise ValueError(f"The recipe {name} says {unknown[0]!r}; what it can say is {', '.join(sorted(allowed))}.")
    return recipe
