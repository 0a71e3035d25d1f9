"""The command `striate`: every command of Striate by its name, in sections. A command is imported when it is used."""

import importlib
from difflib import get_close_matches
from typing import Any

import click
from click.shell_completion import get_completion_class

from models.process.commands import lacks
from striate import __version__

SECTIONS = {  # heading: {command: where it is defined}
    "Begin": {"demo": "striate.demo:demo"},
    "Look at images": {"audit": "training.cli.data:audit", "preview": "training.cli.data:preview"},
    "Train": {
        "train": "training.cli.fit:fit",
        "recipes": "training.cli.fit:recipes",
        "lr-find": "training.cli.fit:lr_find",
        "networks": "models.networks.cli:list_networks",
        "describe": "models.networks.cli:describe_network",
        "weights": "training.cli.weights:weights",
        "import-weights": "training.cli.weights:import_weights",
    },
    "Bring or export a model": {
        "import": "training.cli.importing:import_model",
        "export": "training.cli.bundles:export",
    },
    "Examine a model": {
        "evaluate": "training.cli.bundles:evaluate",
        "explain": "training.cli.history:explain",
        "compare": "training.cli.bundles:compare",
        "diff": "training.cli.history:diff",
        "filters": "training.cli.bundles:filters",
        "quantize": "training.cli.bundles:quantize",
    },
    "Publish": {
        "publish": "training.cli.bundles:publish",
        "models": "service.cli.versions:models",
        "promote": "service.cli.versions:promote",
        "rollback": "service.cli.versions:rollback",
        "canary": "service.cli.versions:canary",
        "shadow": "service.cli.versions:shadow",
        "default": "service.cli.versions:default",
        "prune": "service.cli.versions:prune",
        "index": "service.cli.versions:index",
    },
    "Classify": {"serve": "service.cli.app:serve", "check": "service.cli.app:check", "score": "service.cli.app:score"},
    "Learn from feedback": {"retrain": "training.cli.retrain:retrain"},
    "The shell": {"completion": "striate.cli:completion"},
}
CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}
COMMANDS = {name: target for commands in SECTIONS.values() for name, target in commands.items()}


class Commands(click.Group):
    """Imports a command when it is asked for, and lists all of them under their headings."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), function)
        except ModuleNotFoundError as error:
            return not_installed(cmd_name, error)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{meant} `striate --help` lists them.")
        _, command, rest = super().resolve_command(ctx, args)
        return args[0], command, rest  # `train`, and not `fit`, in its usage and its errors

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = formatter.width - 6 - max(map(len, COMMANDS))
        for heading, commands in SECTIONS.items():
            with formatter.section(heading):
                found = [(name, self.get_command(ctx, name)) for name in commands]
                formatter.write_dl([(name, each.get_short_help_str(width)) for name, each in found if each])


def not_installed(name: str, error: ModuleNotFoundError) -> click.Command:
    """A command that says which package it lacks."""
    sentence = lacks(error)
    if sentence is None:
        raise error

    def fail(**_: Any) -> None:
        raise click.ClickException(sentence)

    anything = {"ignore_unknown_options": True, "help_option_names": []}
    arguments = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
    remedy = sentence.partition(": ")[2]
    short = f"Not installed: {remedy}" if remedy else sentence
    return click.Command(
        name, callback=fail, params=[arguments], help=sentence, short_help=short, context_settings=anything
    )


@click.command(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, message="striate %(version)s")
def main() -> None:
    """Train image classifiers with Keras, and serve them over HTTP."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands and flags: eval "$(striate completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "striate", "_STRIATE_COMPLETE").source())
