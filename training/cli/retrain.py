"""The commands around retraining: `retrain`, `explain`, `diff`."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from models.errors import UserError
from models.process.commands import explained, resumable
from models.process.quiet import import_quietly
from training.cli.app import EXPORTS, main, say


@main.command(
    epilog="Exit codes: 0 promoted, skipped or not needed; 1 a fault; 2 a wrong command; 3 held; 4 rejected; 5 another "
    "job of this model is at work; 6 rolled back. The last line on standard output is the result as JSON."
)
@click.argument("job", metavar="JOB.toml", type=click.Path(path_type=Path))
@click.option("--if-needed", is_flag=True, help="Train only if there are new labels enough, or drift ([needed]).")
@click.option(
    "--ok",
    "fine",
    type=click.Choice(["held", "rejected", "busy", "rolled back"]),
    multiple=True,
    help="Exit with 0 for this outcome too; may be given more than once.",
)
@resumable
def retrain(job: Path, if_needed: bool, fine: tuple[str, ...]) -> None:
    """Train on base data and feedback, and promote what is better than the live version.

    JOB.toml says what (docs/retraining.md). Given again after a kill, it goes on where it was.
    """
    from training.retrain.job import read_job

    try:
        read = read_job(job)  # what is wrong with it is said at once
    except UserError as error:
        raise click.UsageError(str(error)) from error
    import_quietly("tensorflow", "keras")
    from training.retrain.pipeline import EXIT_CODES
    from training.retrain.pipeline import retrain as run_job
    from training.retrain.prometheus import write_textfile
    from training.runs.plan import BadTable

    console = Console(stderr=True)
    with write_textfile(read) as note:
        try:
            result = run_job(read, if_needed=if_needed, console=console)
        except BadTable as error:
            raise click.UsageError(f"{job}, {error}") from error
        note(result)
    say(console, f"{result.outcome}: {result.reason}")
    click.echo(json.dumps(result.to_json(), ensure_ascii=False))
    sys.exit(0 if result.outcome in fine else EXIT_CODES[result.outcome])


@main.command()
@click.argument("model", metavar="MODEL[/VERSION]")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@EXPORTS
@explained
def explain(model: str, as_json: bool, exports: Path) -> None:
    """Print where a version comes from: data, code, settings, figures, decision and parent."""
    from models.store.history import about_version, find, latest_decisions, sentences

    home, version = find(exports, model)
    about = about_version(home, version)
    lines = sentences(about) if "/" in model else [*sentences(about), *latest_decisions(home)]
    click.echo(json.dumps(about, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))


@main.command()
@click.argument("first", metavar="MODEL/VERSION")
@click.argument("second", metavar="MODEL/VERSION")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@EXPORTS
@explained
def diff(first: str, second: str, as_json: bool, exports: Path) -> None:
    """Print what changed from one version to another, and how accuracy differs on images that both held out."""
    from models.store.history import find
    from training.promotion.version_diff import compare, describe_differences

    found = compare(*find(exports, first), *find(exports, second))
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else "\n".join(describe_differences(found)))
