"""Commands that say which versions answer, and which are kept; a running service follows within a second."""

from pathlib import Path

import click

from models.bundle.manifest import BrokenBundle, read_manifest, verify
from models.process.commands import explained
from models.process.lazy import imported_when_used
from models.store import publish as published
from models.store.default import DEFAULT, read_default
from models.store.layout import check_model_name, existing, list_models, list_versions, published_models
from models.store.live import LivePointer, read_live, roll_back, set_canary, set_live, set_shadow
from models.store.option import EXPORTS
from models.store.origin import origin_of
from service.supervisor.arrival import look_at

with imported_when_used():
    import models.store.mirror as mirror
    import models.store.prune as pruning

MODEL, VERSION = click.argument("model"), click.argument("version")
VERSION_OR_NONE = click.argument("version", required=False)
MOST_DIGITS = 18  # of a version's number
PARTS = ("live", "previous", "canary", "shadow")


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
@MODEL
@EXPORTS
@explained
def rollback(model: str, exports: Path) -> None:
    """Make the previous version live again."""
    tell(model, roll_back(exports, model))


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
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


COMMANDS = (models, default, promote, rollback, canary, shadow, prune, index)
