"""What a run is going to be, from flags and from the model it starts from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from models.bundle.manifest import IMPORTED, BrokenBundle, Manifest, NotForThisModel, verify
from models.bundle.preprocessing import InputSpec, Resize
from models.errors import UserError
from models.networks.architecture import FEW_IMAGES, Architecture
from models.networks.registry import architecture_of
from models.networks.scaling import scale_and_offset
from models.store.history import version_of
from training.config.augmentation import Augmentation
from training.config.layers import BY_DEFAULT, Layers, layers_of_table, values_of_recipe
from training.config.recipes import DEFAULT
from training.config.settings import (
    FEWEST_FOR_TAIL,
    FINE_TUNING,
    FULL_RATE_STEPS,
    OF_FEW_PHOTOGRAPHS,
    OF_PHOTOGRAPHS,
    PHOTOGRAPH,
    Settings,
    default_learning_rate,
    run_length,
    settings_for,
)
from training.data.dataset import Found
from training.data.index import BadData
from training.data.named_sets import DATA_SETS
from training.data.sample import sample_images
from training.evaluate.trained_on import started_from

FINE_TUNE = "fine-tune"  # the recipe of photographs that start from good weights
OF_A_PHOTOGRAPH: Resize = "squash"  # which keeps all of it
ENLARGED, MULTIPLE = 1.45, 32  # of the side of the pretraining's input, in whole numbers of the smallest feature map


@dataclass(frozen=True, slots=True)
class Plan:
    """Attributes:
    settings: with a default learning rate as it is in long runs: `settings_for` has what a run is trained by.
    layers: where each setting comes from.
    start: the bundle to start from, of which `known` is the manifest; None from scratch.
    """

    architecture: Architecture
    spec: InputSpec
    settings: Settings
    layers: Layers
    fractions: tuple[float, float]
    start: Path | None
    known: Manifest | None

    def settings_for(self, num_images: int) -> Settings:
        """The settings of a run on so many training images; a default learning rate is fitted to its batches and steps.

        Weights that are good already do not need a lower rate in a short run. Of very few images only the last layer
        learns, unless somebody said otherwise.
        """
        if self.settings.train == "tail" and num_images < FEWEST_FOR_TAIL and not self.layers.is_given("train"):
            return replace(self.settings, train="head")
        if self.layers["learning_rate"] is not None:
            return self.settings
        num_steps = FULL_RATE_STEPS if self.start else run_length(self.settings, num_images).num_steps
        batch_size = min(self.settings.batch_size, num_images)
        decay = self.settings.weight_decay
        rate = default_learning_rate(self.architecture, self.settings.optimizer, batch_size, num_steps, decay)
        return replace(self.settings, learning_rate=FINE_TUNING * rate if self.start else rate)

    def sources(self, settings: Settings) -> dict[str, str]:
        """Which layer each setting of a run comes from, by its name."""
        sources = {name: self.layers.sources.get(name, BY_DEFAULT) for name in settings.flat()}
        if self.layers["learning_rate"] is None:
            sources["learning_rate"] = "default for the network, its batches and steps"
        if self.start:
            sources |= dict.fromkeys(("architecture", "scaling"), "the model that training starts from")
        return sources

    @property
    def started_from(self) -> dict[str, Any] | None:
        return started_from(self.known, self.start) if self.start and self.known else None

    def origin(self, model: str, exports: Path) -> dict[str, Any]:
        """What the lineage of a model says of the start: which version of which model it is, where it is published.

        A version of this model is the parent; one of another model is not, since its number says nothing here.
        """
        if not self.start or not self.known:
            return {"from": None, "parent_version": None}
        version = version_of(self.start, exports / self.known.model)
        parent = version if self.known.model == model else None
        return {"from": {**started_from(self.known, self.start), "version": version}, "parent_version": parent}


def make_plan(found: Found, layers: Layers, start: Path | None) -> Plan:
    """
    Args:
        start: a bundle to start from.

    Raises:
        BrokenBundle: the start does not verify.
        NotForThisModel: the start was imported.
        UserError, click.UsageError: settings, network, input and start do not go together.
    """
    known = verify(start) if start else None
    if known and known.architecture == IMPORTED:
        raise NotForThisModel(
            f"{known.model} was imported, and its network is not one that Striate can train: start from published "
            "weights or scratch."
        )
    architecture = choose_architecture(layers, known)
    spec = choose_input(found, architecture, layers, known)
    architecture.check_size(spec.shape)
    layers = fit_to_start(layers, architecture, known, spec)
    layers = fit_to_input(layers, found.source, spec, few_from_scratch=not start and len(found.own) < FEW_IMAGES)
    settings = read_settings(architecture, layers)
    if known:
        scale_and_offset(known.scaling, spec.channels)
        settings = replace(settings, scaling=known.scaling)
    return Plan(architecture, spec, settings, layers, read_fractions(layers), start, known)


def plan_of_table(table: dict[str, Any], found: Found, start: Path | None) -> Plan:
    """The same, from the table `[training]` of a job.

    Raises:
        BadTable: it says something that is no setting of training, or that does not go together.
    """
    with blaming_the_table(' start = "scratch" begins without the live version.' if start else ""):
        return make_plan(found, read_table(table), start)


def read_table(table: dict[str, Any]) -> Layers:
    """
    Raises:
        BadTable: it says something that is no setting of training.
    """
    with blaming_the_table():
        return layers_of_table(table)


@contextmanager
def blaming_the_table(hint: str = "") -> Iterator[None]:
    """Faults of settings become faults of the table `[training]`; those of images and bundles stay what they are."""
    try:
        yield
    except (BadData, BrokenBundle, BadTable):
        raise
    except (click.UsageError, UserError) as error:
        said = error.format_message() if isinstance(error, click.UsageError) else str(error)
        raise BadTable(f"[training]: {said} `striate train --help` has what it can say.{hint}") from None


class BadTable(UserError):
    """The table `[training]` of a job says what cannot be done."""


def choose_architecture(layers: Layers, start: Manifest | None) -> Architecture:
    """What was asked for; that of the model to start from, where there is one."""
    chosen = architecture_of(layers["architecture"])
    if start is None:
        return chosen
    if layers.is_given("architecture") and chosen.name != start.architecture:
        raise click.UsageError(f"--from is a {start.architecture}, and --model says {chosen.name}.")
    return architecture_of(start.architecture)


def choose_input(found: Found, architecture: Architecture, layers: Layers, start: Manifest | None = None) -> InputSpec:
    """What was asked for; otherwise that of the model to start from, or what suits the network and the images."""
    if start is not None:
        old = start.input_spec
        height, width, resize = old.height, old.width, old.resize
        if is_published(start):
            height = width = enlarged(found, architecture, old.height)
            resize = OF_A_PHOTOGRAPH
        if layers["size"]:
            height = width = layers["size"]
        resize = layers["resize"] or resize
        return InputSpec(height, width, int(layers["channels"] or old.channels), resize)
    if layers["size"] and layers["channels"]:
        side, channels = layers["size"], int(layers["channels"])
    else:
        paths = found.own
        median_side, all_grey = sample_images(found.index.root, paths)
        side = layers["size"] or architecture.side_for(median_side, len(paths))
        channels = int(layers["channels"] or (1 if all_grey else 3))
    return InputSpec(side, side, channels, layers["resize"] or (OF_A_PHOTOGRAPH if side >= PHOTOGRAPH else "crop"))


def fit_to_start(layers: Layers, architecture: Architecture, known: Manifest | None, spec: InputSpec) -> Layers:
    """With the defaults for weights that are good already, as far as the network has what they are about.

    Raises:
        click.UsageError: a setting is for training that starts from a model.
    """
    if not known:
        for name, only in (("freeze_epochs", 0), ("train", "all")):
            if layers[name] != only:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} needs a model to start from: say which with --from. Only colour "
                    "photographs of at least 96 pixels start from pretrained weights by themselves."
                )
        return layers
    photographs = min(spec.height, spec.width) >= PHOTOGRAPH
    by_default = layers["recipe"] == DEFAULT and not layers.is_given("recipe")
    if by_default and photographs and has_good_weights(known):
        values = {**values_of_recipe(FINE_TUNE), "recipe": FINE_TUNE}
        layers = layers.under_what_is_given(values, f"recipe {FINE_TUNE}, the default for such weights")
    if known.multi_stage:
        layers = layers.under_what_is_given({"multi_stage": True}, "the model that training starts from")
    lacks = {"multi_stage": not architecture.multi_stage, "train": layers["train"] == "tail" and not architecture.tail}
    for name, value in (("multi_stage", False), ("train", "all")):
        if lacks[name]:
            layers = layers.under_what_is_given({name: value}, f"what {architecture.name} has")
    if layers["train"] == "tail" and not architecture.tail:
        raise click.UsageError(f"--train tail is not for {architecture.name}: choose all or head.")
    return layers


def has_good_weights(known: Manifest) -> bool:
    """Whether a model is published, or was made from one by training its end."""
    return is_published(known) or known.lineage.get("settings", {}).get("train", "all") != "all"


def is_published(known: Manifest) -> bool:
    """Whether a model is of weights that others have trained on ImageNet."""
    return "weights" in known.lineage


def fit_to_input(layers: Layers, data: str, spec: InputSpec, *, few_from_scratch: bool) -> Layers:
    """With the defaults that depend on the images, and a length that is said once."""
    if layers["recipe"] == DEFAULT and min(spec.height, spec.width) >= PHOTOGRAPH:
        layers = layers.under_what_is_given(OF_PHOTOGRAPHS, "default for photographs")
        if few_from_scratch and not layers.is_given("epochs") and not layers.is_given("steps"):
            layers = layers.under_what_is_given(OF_FEW_PHOTOGRAPHS, "default for few photographs")
    if layers["flip"] is None:
        layers = layers.over({"flip": data not in DATA_SETS or DATA_SETS[data].mirrors}, "default for the data")
    if layers.is_given("epochs") and layers.is_given("steps"):
        raise click.UsageError("--epochs and --steps both say how long to train; give one of them.")
    if layers.is_given("epochs"):
        layers = layers.over({"steps": 0}, layers.sources["epochs"])  # a recipe's steps give way
    return layers


def enlarged(found: Found, architecture: Architecture, side: int) -> int:
    """The side of the input for weights that were trained with this one: more, where images are as large and the
    network takes any size (Touvron et al., 2019, https://arxiv.org/abs/1906.06423). 260 becomes 384, 224 becomes 320.
    """
    larger = MULTIPLE * round(ENLARGED * side / MULTIPLE)
    return larger if architecture.multi_stage and sample_images(found.index.root, found.own)[0] >= larger else side


def read_settings(architecture: Architecture, layers: Layers) -> Settings:
    """The settings in which layers come out for a network."""
    chosen = {f.name: layers[f.name] for f in fields(Settings) if f.name in layers.values and f.name != "architecture"}
    augmentation = Augmentation(**{f.name: layers[f.name] for f in fields(Augmentation)})
    return settings_for(architecture, **chosen, augmentation=augmentation)


def read_fractions(layers: Layers) -> tuple[float, float]:
    """Of validation and test: `--val 10` is `--split 80/10/10`."""
    fractions: tuple[float, float] = layers["fractions"]
    if layers["val"] is None:
        return fractions
    if layers.is_given("fractions"):
        raise click.UsageError("--split and --val both say what is held out; give one of them.")
    return layers["val"] / 100, layers["val"] / 100
