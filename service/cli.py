"""The command line of the service. Settings are environment variables."""

import logging
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from models.bundle.manifest import BrokenBundle, read_manifest, verify
from models.process.commands import Command, explained, resumable
from models.process.lazy import imported_when_used
from models.store import publish as published
from models.store.default import DEFAULT, read_default
from models.store.layout import check_model_name, existing, list_models, list_versions, published_models
from models.store.live import LivePointer, read_live, roll_back, set_canary, set_live, set_shadow
from models.store.option import EXPORTS
from models.store.origin import origin_of
from models.store.single import exports_of
from service.config import PREFIX, Config, Engine, Precision, accepted, check_address, strangers, variable
from service.config_file import CONFIG, take_up
from service.logs import configure_logging
from service.supervisor.arrival import look_at

with imported_when_used():  # they import gevent, NumPy and an engine, which the other commands do without
    import models.store.mirror as mirror
    import models.store.prune as pruning
    import service.check as checking
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
MODEL, VERSION = click.argument("model"), click.argument("version")
VERSION_OR_NONE = click.argument("version", required=False)
MOST_DIGITS = 18  # of a version's number
PARTS = ("live", "previous", "canary", "shadow")


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


@main.command()
@EXPORTS
@explained
def models(exports: Path) -> None:
    """List the models, their versions with their roles (live, previous, canary, shadow), and the default model.

    The files of versions that have a role are compared with their checksums, unless they are in an object store.
    """
    default, is_here = default_of(exports), origin_of(exports) is None
    for name in list_models(exports):
        pointer = read_live(exports / name)
        click.echo(f"{name}{', default' if name == default else ''}{', unloaded' if pointer.unloaded else ''}")
        for version in reversed(list_versions(exports / name)):
            share = {"canary": f" ({pointer.canary_fraction:.1%})"}
            parts = [f"{part}{share.get(part, '')}" for part in PARTS if getattr(pointer, part) == version]
            bundle = about(exports / name / str(version), is_here=is_here, check=bool(parts) and is_here)
            click.echo(f"  {version:>4}  {bundle}  {', '.join(parts)}".rstrip())


def about(bundle: Path, *, is_here: bool, check: bool) -> str:
    incomplete = look_at(bundle).reason
    if incomplete and is_here:
        return f"incomplete: {incomplete}"
    try:
        manifest = verify(bundle) if check else read_manifest(bundle)
    except BrokenBundle as error:
        return f"broken: {error}"
    accuracy = manifest.metrics.get("test", {}).get("accuracy")
    return f"{manifest.architecture:<16} {'' if accuracy is None else f'{accuracy:.2%} of its test images':<26}"


@main.command()
@click.argument("model", required=False)
@EXPORTS
@explained
def default(model: str | None, exports: Path) -> None:
    """Set the default model, which answers requests that name no model. Without MODEL, print it.

    A running service follows unless SERVICE_DEFAULT_MODEL names its default model.
    """
    if model is not None:
        published.set_default(exports, model)
    found = default_of(exports)
    click.echo(f"default model: {found or 'none; striate default MODEL makes one the default'}")


def default_of(exports: Path) -> str | None:
    """The default model, or the only one; where default.json names one that is not there, None, and that is said."""
    names, named = published_models(exports), read_default(exports)
    if named is None:
        return names[0] if len(names) == 1 else None
    if named not in names:
        click.echo(f"{exports / DEFAULT} names {named}, which has no version there.", err=True)
        return None
    return named


@main.command()
@MODEL
@VERSION
@EXPORTS
@explained
def promote(model: str, version: str, exports: Path) -> None:
    """Make a version live: it answers from now on."""
    tell(model, set_live(exports, model, number_of(exports, model, version)))


def number_of(exports: Path, model: str, version: str) -> int:
    home = existing(exports / check_model_name(model))
    if not (version.isascii() and version.isdecimal() and len(version) <= MOST_DIGITS):
        known = ", ".join(map(str, list_versions(home))) or "none"
        raise click.BadParameter(f"A version is a whole number, not {version!r}; {home} has {known}.")
    return int(version)


@main.command()
@MODEL
@EXPORTS
@explained
def rollback(model: str, exports: Path) -> None:
    """Make the previous version live again."""
    tell(model, roll_back(exports, model))


@main.command()
@MODEL
@VERSION_OR_NONE
@click.option(
    "--fraction", type=float, default=0.1, show_default=True, help="Share of the requests that name no version."
)
@click.option("--off", is_flag=True, help="End it.")
@EXPORTS
@explained
def canary(model: str, version: str | None, fraction: float, off: bool, exports: Path) -> None:
    """Let a version answer a share of the requests."""
    tell(model, set_canary(exports, model, one_of(exports, model, version, off), fraction))


@main.command()
@MODEL
@VERSION_OR_NONE
@click.option("--off", is_flag=True, help="End it.")
@EXPORTS
@explained
def shadow(model: str, version: str | None, off: bool, exports: Path) -> None:
    """Send the requests of the live version to another one, too, and compare. Its answers are never returned."""
    tell(model, set_shadow(exports, model, one_of(exports, model, version, off)))


def one_of(exports: Path, model: str, version: str | None, off: bool) -> int | None:
    if (version is None) != off:
        raise click.UsageError("Say a VERSION, or --off.")
    return None if version is None else number_of(exports, model, version)


@main.command()
@click.argument("model", required=False)
@click.option("--versions", type=click.IntRange(1), help="Keep so many of the newest versions.")
@click.option("--days", type=click.FloatRange(0, min_open=True), help="Keep versions that are not older.")
@click.option("--bytes", "num_bytes", type=click.IntRange(1), help="Keep versions up to so many bytes in all.")
@click.option("--dry-run", is_flag=True, help="Print what would be deleted, and delete nothing.")
@EXPORTS
@explained
def prune(
    model: str | None,
    versions: int | None,
    days: float | None,
    num_bytes: int | None,
    dry_run: bool,
    exports: Path,
) -> None:
    """Delete versions that no limit keeps, of MODEL or of all models.

    Versions that have a role, and those that an unfinished retraining job compares with, always stay. Of deleted ones
    the manifest and the list of images are kept, in the folder `pruned`, since later models may descend from them.
    """
    retention = pruning.Retention(versions or 0, days or 0.0, num_bytes or 0)
    if retention.is_unlimited:
        raise click.UsageError("Say what to keep: --versions, --days or --bytes.")
    if model is not None:
        existing(exports / check_model_name(model))
    what = "would be deleted" if dry_run else "was deleted"
    found = pruning.prune(exports, retention, model=model, dry=dry_run)
    for each in found:
        click.echo(f"{each.model} version {each.version} {what} ({each.num_bytes:,} bytes): {each.reason}")
    click.echo(f"{len(found)} versions, {sum(each.num_bytes for each in found):,} bytes")


@main.command()
@EXPORTS
@explained
def index(exports: Path) -> None:
    """Write index.json, by which a service reads these exports from a web server (SERVICE_EXPORTS=https://...).

    Write it after each change of the versions, and upload it last.
    """
    click.echo(f"{mirror.write_index(exports)} lists {len(published_models(exports))} models")


def tell(model: str, pointer: LivePointer) -> None:
    has_part = [(part, getattr(pointer, part)) for part in PARTS if getattr(pointer, part) is not None]
    shares = {"canary": f" for {pointer.canary_fraction:.1%}"}
    click.echo(f"{model}: " + ", ".join(f"{part} {version}{shares.get(part, '')}" for part, version in has_part))


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
