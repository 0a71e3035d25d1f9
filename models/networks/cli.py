"""The command line of the networks: `python -m models --help`."""

import json
import re
from collections.abc import Iterable
from itertools import starmap
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table as RichTable

from models.process.commands import explained
from models.process.lazy import imported_when_used
from models.process.quiet import import_quietly

if TYPE_CHECKING:
    from models.networks.summary import Row, Table
with imported_when_used():  # they import Keras
    import models.networks.registry as registry
    import models.networks.summary as summary

SHAPE = re.compile(r"(\d+)x(\d+)(?:x(\d+))?")
LAYERS = ("layer", "kind", "output", "kernel", "stride", "padding", "dilation", "parameters", "MACs", "sees", "every")
COLUMNS = ("network", "also", "paper", "input", "classes", "smallest", "parameters", "MMACs")
LEFT = ("layer", "kind", "network", "also", "paper")  # columns of words; the others hold numbers


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """The networks: which there are, and what each is made of."""


class Shape(click.ParamType):
    """`224x224x3` or `224x224` -> (H, W, C), three channels unless said."""

    name = "HxWxC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        found = SHAPE.fullmatch(value)
        sizes = [int(size or 3) for size in found.groups()] if found else [0]
        if not all(sizes):
            self.fail(f"{value!r} is no input shape; give height, width and channels such as 224x224x3.")
        height, width, channels = sizes
        return height, width, channels


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@explained
def list_networks(as_json: bool) -> None:
    """List the networks with their papers. Parameters and multiply-accumulates are those at the input of the paper."""
    import_quietly("keras")

    found: list[dict[str, Any]] = []
    for name, entry in registry.ARCHITECTURES.items():
        table = summary.describe(summary.outline(name))
        found.append(
            {
                "name": name,
                "aliases": entry.aliases,
                "paper": str(entry.paper),
                "url": entry.paper.url,
                "input_shape": entry.input_shape,
                "num_classes": entry.num_classes,
                "smallest": entry.smallest,
                "parameters": table.trained_parameters,
                "macs": table.macs,
            }
        )
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = (
        (
            network["name"],
            ", ".join(network["aliases"]),
            network["paper"],
            by(network["input_shape"]),
            f"{network['num_classes']}",
            f"{network['smallest']}",
            f"{network['parameters']:,}",
            f"{network['macs'] / 1e6:,.1f}",
        )
        for network in found
    )
    print_table(COLUMNS, rows)


@main.command("describe")
@click.argument("name")
@click.option("--input", "input_shape", type=Shape(), help="Shape of one image. [default: that of the paper]")
@click.option("--classes", type=click.IntRange(1), help="[default: the paper's]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@explained
def describe_network(name: str, input_shape: tuple[int, int, int] | None, classes: int | None, as_json: bool) -> None:
    """Print a network layer by layer, with its totals.

    `sees` is the receptive field: how much of the image one position of the layer depends on. `every` is the
    distance of two neighbouring positions, in pixels.
    """
    import_quietly("keras")

    entry = registry.architecture_of(name)
    model = summary.outline(name, input_shape=input_shape, num_classes=classes)
    table = summary.describe(model)
    if as_json:
        network = {"name": entry.name, "paper": str(entry.paper), "url": entry.paper.url}
        shapes = {"input_shape": model.input_shape[1:], "num_classes": model.output_shape[-1]}
        click.echo(json.dumps({**network, **shapes, **table.to_json()}, indent=2))
        return
    print_table(LAYERS, map(cells, table.rows))
    click.echo("\n" + ", ".join(filter(None, (entry.name, str(entry.paper), entry.paper.url))))
    click.echo("\n".join(starmap("{:<26} {}".format, totals(table))))


def cells(row: "Row") -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        by(row.output_shape),
        by(row.kernel),
        by(row.stride, squared=True),
        "" if row.padding is None else by(tuple(map(margin, row.padding)), squared=True),
        by(row.dilation, squared=True),
        f"{row.parameters:,}" if row.parameters else "",
        f"{row.macs:,}" if row.macs else "",
        by(row.receptive_field),
        by(row.receptive_field_stride, squared=True),
    )


def totals(table: "Table") -> Iterable[tuple[str, str]]:
    trained = table.trained_parameters
    yield "parameters, trained", f"{trained:,} ({4 * trained / 1e6:,.1f} MB in float32)"
    yield "parameters, others", f"{table.other_parameters:,}"
    yield "multiply-accumulates", f"{table.macs:,}"
    yield "activations of one image", f"{table.activation_bytes / 1e6:,.2f} MB in float32"


def by(sizes: tuple[Any, ...] | None, *, squared: bool = False) -> str:
    """(5, 5) -> 5x5, or 5 where squares go without saying; None -> nothing."""
    if sizes is None:
        return ""
    return str(sizes[0]) if squared and len(set(sizes)) == 1 else "x".join(map(str, sizes))


def margin(padding: tuple[int, int]) -> str:
    """3 on both sides, or 0+1 where they differ."""
    before, after = padding
    return str(before) if before == after else f"{before}+{after}"


def print_table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Ruled in a terminal; in a pipe aligned with spaces, a line a row, however long."""
    console = Console()
    if console.is_terminal:
        table = RichTable(header_style="bold")
        for column in columns:
            table.add_column(column, justify="left" if column in LEFT else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (
            cell.ljust(width) if column in LEFT else cell.rjust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        )
        click.echo("  ".join(padded).rstrip())
