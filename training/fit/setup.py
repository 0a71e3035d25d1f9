"""What training begins with: the network, its batches and its loss."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
from rich.console import Console

from models.networks.registry import architecture_of
from models.networks.summary import without_values
from training.augment.loader import TrainingBatches
from training.config.settings import Settings, resolve_dropout, resolve_epochs, resolve_precision, run_length
from training.data.decoded import DecodedImages
from training.data.split import Split
from training.evaluate.calibration import first_resting_epoch, resting_rows
from training.network.build import build_for, trainable, without_auxiliary_heads
from training.network.losses import CrossEntropy, loss_for
from training.network.pretrained import transfer_weights
from training.network.whitening import whiten


@dataclass(frozen=True, slots=True)
class Ready:
    """All that training begins with."""

    model: keras.Model  # not yet compiled
    batches: TrainingBatches
    loss: CrossEntropy
    settings: Settings  # with what `auto` and the network's own dropout came to
    new: list[keras.Variable]  # weights that were not taken over from another model, where some were


def get_ready(
    decoded: DecodedImages, split: Split, settings: Settings, console: Console, *, start: Path | None = None
) -> Ready:
    """
    Args:
        start: a bundle whose weights the network takes over.
    """
    make_repeatable(settings.seed)
    with without_values():
        num_parameters = build_for(decoded, settings, "float32").count_params()
    precision, reason = resolve_precision(
        settings.precision,
        num_parameters,
        depthwise=architecture_of(settings.architecture).depthwise,
        frozen=settings.train != "all",
    )
    architecture = architecture_of(settings.architecture)
    dropout = resolve_dropout(settings.dropout, architecture, num_parameters, len(split.train))
    epochs = resolve_epochs(settings, len(split.train))
    settings = replace(settings, precision=precision, dropout=dropout, epochs=epochs)
    steps = f", learning rate {settings.learning_rate:g}, dropout {dropout:g}" if settings.train != "head" else ""
    console.print(
        f"precision {precision} ({reason}){steps}, seed {settings.seed}",
        highlight=False,
        soft_wrap=True,
    )
    resting = resting_rows(decoded, split)
    batches = TrainingBatches(
        decoded,
        split.train,
        batch_size=settings.batch_size,
        seed=settings.seed,
        augmentation=settings.augmentation,
        resting=resting,
        rest_from=first_resting_epoch(run_length(settings, len(split.train) - len(resting)).epochs),
    )
    model = trainable(decoded, settings, precision)
    whiten(model, decoded, split.train)
    new: list[keras.Variable] = []
    if start:
        num_layers, new = transfer_weights(without_auxiliary_heads(model), start, decoded.class_names)
        own = {id(weight) for weight in without_auxiliary_heads(model).weights}
        new += [weight for weight in model.trainable_variables if id(weight) not in own]
        console.print(f"{num_layers} layers taken over from {start}", highlight=False, soft_wrap=True)
    loss = loss_for(settings, decoded.labels[split.train], len(decoded.class_names))
    return Ready(model, batches, loss, settings, new)


def make_repeatable(seed: int) -> None:
    """The same weights for the same seed, on the same machine with as many threads; it costs some 6 % of the speed."""
    keras.utils.set_random_seed(seed)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
