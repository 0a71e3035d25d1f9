"""The commands that tell where versions come from: `explain` and `diff`."""

import json
from pathlib import Path

import click

from models.process.commands import explained
from models.store.history import about_version, find, latest_decisions, sentences
from models.store.mirror import bring_version
from models.store.option import EXPORTS
from training.cli.deferred import version_diff
from training.cli.options import AS_JSON


@click.command()
@click.argument("model", metavar="MODEL[/VERSION]")
@AS_JSON
@EXPORTS
@explained
def explain(model: str, as_json: bool, exports: Path) -> None:
    """Print where a version comes from: data, code, settings, figures, decision and parent."""
    home, version = find(exports, model)
    about = about_version(home, version)
    lines = sentences(about) if "/" in model else [*sentences(about), *latest_decisions(home)]
    click.echo(json.dumps(about, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))


@click.command()
@click.argument("first", metavar="MODEL/VERSION")
@click.argument("second", metavar="MODEL/VERSION")
@AS_JSON
@EXPORTS
@explained
def diff(first: str, second: str, as_json: bool, exports: Path) -> None:
    """Print what changed from one version to another, and how accuracy differs on images that both held out."""
    both = [find(exports, name) for name in (first, second)]
    for home, version in both:
        bring_version(home, version)
    found = version_diff.compare(*both[0], *both[1])
    click.echo(
        json.dumps(found, indent=2, ensure_ascii=False)
        if as_json
        else "\n".join(version_diff.describe_differences(found))
    )
