"""The command line of the service. Settings are environment variables."""

import logging
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from models.process.commands import Command, explained, resumable
from models.process.lazy import imported_when_used
from models.store.origin import check_installed
from models.store.single import exports_of
from service.cli.versions import COMMANDS
from service.config import PREFIX, Config, Engine, Precision, accepted, check_address, strangers, variable
from service.config_file import CONFIG, take_up
from service.logs import configure_logging

with imported_when_used():  # they import gevent, NumPy and an engine, which the other commands do without
    import service.cli.check as checking
    import service.http.api_keys as api_keys
    import service.look.serve as look
    import service.scoring.run as scoring
    import service.supervisor.supervisor as supervisor
    import service.telemetry.tracing as tracing

log = logging.getLogger(__name__)

WIDTH = 34  # of a variable and its default in --help
SETTINGS = "\n".join(
    f"  {f'{variable(field)}={field.default}':<{WIDTH}} {field.metadata['meaning']}"
    + (f" ({accepted(field)})" if accepted(field) else "")
    for field in fields(Config)
)


VARIABLES = (
    "\b\nSettings are environment variables, or keys in small letters and without SERVICE_ of the TOML file that\n"
    "SERVICE_CONFIG names. A secret can be in a file, as SERVICE_ADMIN_KEYS_FILE=PATH. Names, defaults and meaning:\n"
    f"{SETTINGS}"
)
OPTIONS = (
    click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help=f"TOML file of settings; variables come before it. [default: {CONFIG}]",
    ),
    click.option("--host", help="Address to listen on. [default: SERVICE_HOST, or 127.0.0.1]"),
    click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on. [default: SERVICE_PORT, or 8000]"),
    click.option(
        "--model",
        "saved_model",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="Serve this SavedModel instead, as it is, for a look: a folder with saved_model.pb, or one of numbered "
        "versions, of which the highest is taken. It answers on a loopback address only, tensors in and out by the "
        "protocols of TensorFlow Serving and Open Inference, without labels; `striate import` makes a model that has "
        "them.",
    ),
    click.option(
        "--bundle",
        type=click.Path(path_type=Path),
        help="Serve this bundle alone, wherever it lies, as version 1; or exports, if that is what is there. KServe "
        "mounts models so.",
    ),
    click.option("--name", help="With --bundle: what the model is called. [default: the name in its manifest]"),
)


def serving_options(command: Command) -> Command:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 160},
    epilog=VARIABLES,
)
@serving_options
@click.pass_context
def main(context: click.Context, **options: Any) -> None:
    """Serve the models in exports/ over HTTP until SIGTERM or Ctrl-C.

    The commands below say which versions answer; a running service follows within a second.
    """
    if context.invoked_subcommand is None:
        run(**options)
    elif given := [name for name in options if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]:
        flag = {"saved_model": "--model", "config_path": "--config"}.get(given[0], f"--{given[0]}")
        raise click.UsageError(f"{flag} is for serving; leave out {context.invoked_subcommand!r}.")


@main.command(epilog=VARIABLES)
@serving_options
def serve(**options: Any) -> None:
    """Serve the models in exports/ over HTTP until SIGTERM or Ctrl-C."""
    run(**options)


@explained
def run(
    host: str | None,
    port: int | None,
    saved_model: Path | None = None,
    config_path: Path | None = None,
    bundle: Path | None = None,
    name: str | None = None,
) -> None:
    if name is not None and bundle is None:
        raise click.UsageError("--name is for a bundle: give --bundle, too.")
    exports = None if bundle is None else exports_of(bundle, name)
    for setting, value in (("host", host), ("port", port), ("config", config_path), ("exports", exports)):
        if value is not None:
            os.environ[f"{PREFIX}{setting.upper()}"] = str(value)
    take_up()  # the HTTP processes read it from the environment, too
    config = Config.from_environment(os.environ)
    if saved_model is not None:
        look.check_host(config, saved_model)
    check_address(config)
    tracing.check_installed(config)
    check_installed(config.exports)
    needs_key = bool(api_keys.read_keys(config).of("predict"))
    configure_logging(config.log_level, config.log_format)
    for stranger in strangers(os.environ):
        log.warning("%s", stranger)
    if saved_model is not None:
        sys.exit(look.serve(config, saved_model))
    sys.exit(supervisor.Supervisor(config, needs_key=needs_key).run())


@main.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), help=f"TOML file. [default: {CONFIG}]")
def check(config_path: Path | None) -> None:
    """Read all settings, keys and models, and print what the service would do with them; nothing is started.

    Exit code 2: it would not start, or would not answer as the settings ask.
    """
    environment = {**os.environ, **({CONFIG: str(config_path)} if config_path else {})}
    report = checking.check(environment)
    for line in report.lines:
        click.echo(line)
    for kind, sentences in (("warning", report.warnings), ("error", report.errors)):
        for sentence in sentences:
            click.echo(f"{kind:<10} {sentence}", err=True)
    sys.exit(2 if report.errors else 0)


@main.command(context_settings={"show_default": True})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source", metavar="FOLDER-or-LIST", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, help="Output file: .parquet, .csv or .jsonl."
)
@click.option(
    "--shard-size", type=click.IntRange(1), default=1000, help="Number of images after which results are saved."
)
@click.option("--engine", type=click.Choice(get_args(Engine)), envvar=f"{PREFIX}ENGINE", default=Config().engine)
@click.option(
    "--precision", type=click.Choice(get_args(Precision)), envvar=f"{PREFIX}PRECISION", default=Config().precision
)
@click.option(
    "--max-batch-size", type=click.IntRange(1), envvar=f"{PREFIX}MAX_BATCH_SIZE", default=Config().max_batch_size
)
@click.option("--fresh", is_flag=True, help="Start again instead of continuing an interrupted run.")
@resumable
def score(bundle: Path, source: Path, output: Path, **options: Any) -> None:
    """Classify the images of a folder, or of a list of files, into one output file."""
    summary = scoring.score_images(bundle, source, output, **options)
    rate = "" if summary.images_per_s is None else f", {summary.images_per_s:,.0f} images/s"
    click.echo(
        f"{summary.num_images:,} images, {summary.num_errors:,} of them unreadable{rate}: "
        f"{click.format_filename(output)}"
    )


for command in COMMANDS:
    main.add_command(command)
