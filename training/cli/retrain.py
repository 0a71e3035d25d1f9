"""`striate retrain`."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from models.errors import UserError
from models.process.commands import resumable
from models.process.idle import give_way
from models.process.quiet import import_quietly
from training.cli.deferred import jobs, plans, prometheus, retraining
from training.cli.options import say


@click.command(
    epilog="Exit codes: 0 promoted, skipped or not needed; 1 a fault; 2 a wrong command; 3 held; 4 rejected; 5 another "
    "job of this model is at work; 6 rolled back. The last line on standard output is the result as JSON."
)
@click.argument("job", metavar="JOB.toml", type=click.Path(path_type=Path))
@click.option(
    "--if-needed", is_flag=True, help="Train only if there are enough new labels, or drift (table [needed] of the job)."
)
@click.option(
    "--ok",
    "fine",
    type=click.Choice(["held", "rejected", "busy", "rolled back"]),
    multiple=True,
    help="Exit with 0 for this outcome too; may be given more than once.",
)
@click.option(
    "--give-way", "gives_way", is_flag=True, help="Compute in time that nobody else wants, on half of the cores."
)
@resumable
def retrain(job: Path, if_needed: bool, fine: tuple[str, ...], gives_way: bool) -> None:
    """Train on base data and feedback, and promote the new model if it is better than the live version.

    JOB.toml says what: docs/reference/job.md has every field. A job that was killed is continued by the same command.
    """
    if gives_way:
        give_way()
    try:
        read = jobs.read_job(job)  # what is wrong with it is said at once
    except UserError as error:
        raise click.UsageError(str(error)) from error
    import_quietly("tensorflow", "keras")
    console = Console(stderr=True)
    with prometheus.write_textfile(read) as note:
        try:
            result = retraining.retrain(read, if_needed=if_needed, console=console)
        except plans.BadTable as error:
            raise click.UsageError(f"{job}, {error}") from error
        note(result)
    say(console, f"{result.outcome}: {result.reason}")
    click.echo(json.dumps(result.to_json(), ensure_ascii=False))
    sys.exit(0 if result.outcome in fine else retraining.EXIT_CODES[result.outcome])
