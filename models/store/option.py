"""The option --exports of every command: a folder, or an object store, of which the command has a mirror."""

import os
from pathlib import Path
from typing import Any

import click

from models.errors import Failed, UserError
from models.process.lazy import imported_when_used
from models.store.origin import SCHEMES, is_address, mirror_folder

with imported_when_used():
    import models.store.mirror as mirror

VARIABLE, CACHE = "SERVICE_EXPORTS", "SERVICE_CACHE"


class Exports(click.Path):
    """Converts to a folder: the one that is named, or a mirror that was brought up to date."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_address(value):
            try:
                return open_exports(value)
            except (UserError, Failed) as error:
                self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


def open_exports(text: str) -> Path:
    """Exports that were named as a folder or as an address.

    Raises:
        UserError, StoreAway: there is no such store, or it does not answer.
    """
    if not is_address(text):
        return Path(text)
    folder = mirror_folder(text, cache_folder())
    mirror.Mirror(folder).pull(listing=True)
    return folder


def cache_folder() -> Path | None:
    """Where mirrors are kept; None: in the folder for temporary files."""
    return Path(os.environ[CACHE]) if os.environ.get(CACHE) else None


EXPORTS = click.option(
    "--exports",
    type=Exports(),
    envvar=VARIABLE,
    default="exports",
    show_default=True,
    show_envvar=True,
    help=f"Folder of published models, or an object store ({', '.join(SCHEMES[:3])}...).",
)
