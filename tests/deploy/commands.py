"""Commands as the files for deployment give them."""

from collections.abc import Sequence
from typing import Any

from striate.cli import main


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The arguments of `striate` as click takes them."""
    context = main.make_context("striate", list(arguments))  # its settings count: click keeps what it makes of them
    name, command, rest = main.resolve_command(context, list(arguments))
    assert command is not None
    return command.make_context(name, rest, parent=context).params
