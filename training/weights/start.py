"""What training starts from: a model of one's own, weights that others have published, or random weights."""

from pathlib import Path

from rich.console import Console

from models.errors import UserError
from models.store.history import find_bundle
from training.config.layers import Layers
from training.config.recipes import DEFAULT
from training.config.settings import PHOTOGRAPH
from training.data.dataset import Found
from training.data.named_sets import DATA_SETS
from training.data.sample import sample_images
from training.runs.directory import is_open
from training.weights.bundle import cached_bundle
from training.weights.sources import SOURCES, MissingWeights, class_names, find_weights

SCRATCH = "scratch"
FOR_PHOTOGRAPHS = "efficientnet_lite2"
STARTING_RECIPES = {DEFAULT, "fine-tune", "head"}  # the others are of networks that begin with random weights


def find_start(said: str | None, found: Found, layers: Layers, cache: Path, console: Console) -> Path | None:
    """The bundle to start from; None for random weights.

    Photographs start from published weights where nothing else is said, and a line says so.

    Args:
        said: a run, a bundle, the name of a network whose weights are published, `scratch`, or nothing.

    Raises:
        UserError: there is no such bundle, or its run is not finished.
        MissingWeights: the weights that somebody asked for are not here.
    """
    if said == SCRATCH:
        return None
    if said in SOURCES:
        return cached_bundle(said, cache)
    if said:
        if is_open(Path(said)):
            raise UserError(f"{said} is a run that is not finished; give its command again first.")
        return find_bundle(Path(said))
    network = layers["architecture"] if layers.is_given("architecture") else FOR_PHOTOGRAPHS
    if network not in SOURCES or layers["recipe"] not in STARTING_RECIPES or not are_photographs(found, layers):
        return None
    try:
        find_weights(network)
        class_names()
    except MissingWeights as error:
        console.print(f"training starts from random weights. {error}", highlight=False, soft_wrap=True)
        return None
    console.print(
        f"training starts from {network} as published, trained on ImageNet; --from scratch starts from random weights",
        highlight=False,
        soft_wrap=True,
    )
    return cached_bundle(network, cache)


def are_photographs(found: Found, layers: Layers) -> bool:
    """Whether images are large and coloured enough, also as they will be trained on."""
    if found.source in DATA_SETS or layers["channels"] == "1" or (layers["size"] or PHOTOGRAPH) < PHOTOGRAPH:
        return False
    median_side, all_grey = sample_images(found.index.root, found.own)
    return median_side >= PHOTOGRAPH and not all_grey
