"""The command for a model that somebody else trained: `import`."""

import re
import shlex
from pathlib import Path
from typing import get_args

import click

from models.bundle.preprocessing import Resize
from models.process.commands import explained
from models.store.layout import check_model_name
from models.store.option import EXPORTS
from training.cli.deferred import directory, imports
from training.cli.options import hand_over
from training.config.settings import Int8
from training.preprocessing.scalings import PIXEL_SCALINGS

AUTO = "auto"


class Size(click.ParamType):
    """224x224, or 224 for both: height and width in pixels."""

    name = "HEIGHTxWIDTH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", str(value))
        if not found or not all(8 <= int(side) <= 4096 for side in found.groups() if side):
            self.fail(f"{value!r} is no size: 224x224 is, each side from 8 to 4096 pixels.", param, ctx)
        return int(found[1]), int(found[2] or found[1])


def typed(model: Path, **options: object) -> str:
    """The command to type again, to which an option can be added."""
    words = ["striate", "import", str(model)]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", "x".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return shlex.join(words)


@click.command("import")
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--name", required=True, help="Name of the model: a-z, 0-9, - and _.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Class names in the order of the model's outputs: text with one name a line, JSON, or CSV.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True),
    help="Folder with a folder of images for each class, a handful of each: finds the scaling, and measures the model.",
)
@click.option(
    "--scaling",
    type=click.Choice([AUTO, *PIXEL_SCALINGS]),
    default=AUTO,
    help="How training scaled the pixels. auto: found out from --images, or from the model.",
)
@click.option("--size", type=Size(), help="Height and width of the input, for a model that accepts any size.")
@click.option(
    "--resize",
    type=click.Choice(get_args(Resize)),
    help="How images are resized to the input. [default: found out from --images; else squash]",
)
@click.option("--signature", help="Signature of a SavedModel. [default: serving_default, or the one there is]")
@click.option(
    "--int8",
    type=click.Choice(get_args(Int8)),
    default="auto",
    help="Also make an 8-bit form, which is faster on CPUs. auto: if --images has 800 images or more, and at least "
    "99 % of those held out get the same class as in float32; on: also with fewer; off: never.",
)
@click.option("--publish", is_flag=True, help="Publish the bundle and make it live.")
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), default="runs", help="Folder of runs.")
@EXPORTS
@explained
def import_model(
    model: Path,
    name: str,
    labels: Path | None,
    images: Path | None,
    scaling: str,
    size: tuple[int, int] | None,
    resize: Resize | None,
    signature: str | None,
    int8: Int8,
    publish: bool,
    runs: Path,
    exports: Path,
) -> None:
    """Make a verified bundle of MODEL, which was trained elsewhere.

    MODEL is a `.keras` file, a whole model in `.h5`, the directory of a SavedModel, or a zip or tar of one. It is
    loaded in a process that can write nowhere else and has no network.
    """
    check_model_name(name)
    runs.mkdir(parents=True, exist_ok=True)
    run = directory.new_run_directory(runs, name)
    asked = imports.Asked(
        model,
        name,
        labels,
        images,
        None if scaling == AUTO else scaling,
        size,
        resize,
        signature,
        int8,
        command=typed(model, name=name, labels=labels, images=images, size=size, resize=resize, signature=signature),
    )
    bundle = imports.import_model(asked, run, click.echo)
    hand_over(bundle, exports, publish=publish)
