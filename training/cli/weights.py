"""The commands for weights that others have trained: `weights` and `import-weights`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from models.process.commands import explained
from models.process.quiet import import_quietly
from models.store import publish as published
from models.store.layout import check_model_name
from training.cli.deferred import directory, pretrained_bundle
from training.cli.options import AS_JSON, EXPORTS
from training.weights.sources import INSTALL, SOURCES, available


@click.command()
@AS_JSON
@explained
def weights(as_json: bool) -> None:
    """List the weights that packages carry, and whether they are installed."""
    rows = list(available())
    if as_json:
        click.echo(json.dumps([{**asdict(source), "installed": installed} for source, installed in rows]))
        return
    for source, installed in rows:
        click.echo(
            f"{source.network:<20} {source.megabytes:>5.1f} MB  {source.accuracy:.1%} of ImageNet as published  "
            f"{source.licence}  {source.package} {source.version}, {'installed' if installed else 'not installed'}"
        )
    click.echo(f"\nTrained on {rows[0][0].data}.\nInstall: {INSTALL}")


@click.command("import-weights")
@click.argument("network", type=click.Choice(list(SOURCES)))
@click.option("--name", default="imagenet", help="Name of the model.")
@click.option("--publish", is_flag=True, help="Publish the bundle and make it live.")
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), default="runs", help="Where runs are kept.")
@EXPORTS
@explained
def import_weights(network: str, name: str, publish: bool, runs: Path, exports: Path) -> None:
    """Make a bundle of ImageNet's 1,000 classes from published weights, without training."""
    check_model_name(name)
    import_quietly("tensorflow", "keras")
    runs.mkdir(parents=True, exist_ok=True)
    bundle = pretrained_bundle.make_bundle(network, name, directory.new_run_directory(runs, name))
    click.echo(f"bundle: {bundle}")
    if publish:
        version = published.publish(bundle, exports)
        click.echo(f"published and live: {exports / name / str(version)}")
    else:
        click.echo(f"publish it with: python -m training publish --force {bundle.parent}")
