"""The command line of training: `python -m training --help`."""

import click

from training.cli.bundles import compare, evaluate, export, filters, publish, quantize
from training.cli.data import audit, preview
from training.cli.fit import fit, lr_find, recipes
from training.cli.history import diff, explain
from training.cli.importing import import_model
from training.cli.retrain import retrain
from training.cli.weights import import_weights, weights


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """From folders of images to a published model."""


for command in (
    *(
        audit,
        compare,
        diff,
        evaluate,
        explain,
        export,
        filters,
        fit,
        import_model,
        import_weights,
        lr_find,
        preview,
        publish,
        quantize,
    ),
    *(recipes, retrain, weights),
):
    main.add_command(command)
