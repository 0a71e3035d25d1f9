"""Train a network on decoded images: best weights kept, judged on the untouched test split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from models.errors import UserError
from models.networks.registry import architecture_of
from training.augment.loader import TrainingBatches
from training.config.settings import Settings, resolve_dropout, resolve_epochs, resolve_precision, run_length
from training.data.decoded import DecodedImages
from training.data.split import Split
from training.evaluate.calibration import (
    Calibration,
    Method,
    first_resting_epoch,
    fit_temperature,
    resting_rows,
    softmax,
)
from training.evaluate.metrics import expected_calibration_error, measure
from training.evaluate.predict import logits_of
from training.evaluate.predictions import Predictions
from training.fit.callbacks import Event, TensorBoard, TrainingProgress
from training.fit.checkpoint import load_weights
from training.fit.distributed import ALONE, Group, leave_group
from training.fit.loop import WEIGHTS, Loop
from training.fit.state import CHECKPOINT_EVERY_S, Observer
from training.network.build import build_for, compile_for, trainable, with_mirror_images, without_auxiliary_heads
from training.network.losses import CrossEntropy, loss_for
from training.network.pretrained import take_over
from training.network.whitening import whiten


@dataclass(frozen=True, slots=True)
class Trained:
    """A network after training, in float32 as it will be exported.

    Attributes:
        model: the network alone.
        answering: what is exported: the network, or the mean of its two answers where images are mirrored.
        calibration: the temperature, and what it was fitted on.
        settings: with what `auto` and the network's own dropout came to.
        history: {metric: one value per epoch}.
        predictions: of the test split.
        metrics: of those, where there are some, with `temperature`, `calibration` (what it was fitted on), and as
            `uncalibrated_error` the calibration error without it.
    """

    model: keras.Model
    answering: keras.Model
    calibration: Calibration
    settings: Settings
    history: dict[str, list[float]]
    predictions: Predictions
    metrics: dict[str, Any]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) -> float64 (N, num_classes)."""
        return softmax(self.answering.predict_on_batch(images), self.calibration.temperature)


def fit(
    decoded: DecodedImages,
    split: Split,
    settings: Settings,
    run: Path,
    *,
    console: Console,
    tensorboard: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    observers: Sequence[Observer] = (),
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    start: Path | None = None,
    group: Group = ALONE,
) -> Trained:
    """Train, keep the weights of the lowest validation loss (or the last: `patience`) in `run`, and measure them.

    A run that was cut off goes on from its last checkpoint, to the same weights.

    Args:
        start: a bundle to start from, instead of random weights.
        group: the processes that train together, of which this one leads.

    Raises:
        Diverged: the loss became infinite or not a number.
        UserError: the architecture is unknown, or not defined for this input.
    """
    seen = [
        TrainingProgress(console, on_event=on_event),
        *([TensorBoard(run / "tensorboard")] if tensorboard else []),
        *observers,
    ]
    settings, history = train(
        decoded, split, settings, run, console, seen, checkpoint_every_s=checkpoint_every_s, start=start, group=group
    )
    leave_group(group)
    return judge(best_of(run, decoded, settings), decoded, split, settings, history)


def train(
    decoded: DecodedImages,
    split: Split,
    settings: Settings,
    run: Path,
    console: Console,
    observers: Sequence[Observer],
    *,
    checkpoint_every_s: float,
    start: Path | None,
    group: Group,
) -> tuple[Settings, dict[str, list[float]]]:
    """The part of `fit` that all processes of a group take part in.

    Returns:
        the settings, with what `auto` and the network's own dropout came to, and the history.
    """
    ready = get_ready(decoded, split, settings, console, start=start)
    model, batches, settings = ready.model, ready.batches, ready.settings
    group.check_batch_size(batches.batch_size)
    length = run_length(settings, len(batches) * batches.batch_size)
    check_length(settings, length.num_steps, validated=bool(len(split.val)))
    steps = {"num_steps": length.num_steps, "steps_per_epoch": length.steps_per_epoch}
    compile_for(model, settings, ready.loss, **steps, new=ready.new)

    def validate() -> dict[str, float]:
        logits, labels = logits_of(model, decoded.images, split.val, batches.batch_size), decoded.labels[split.val]
        return {"loss": float(ready.loss(labels, logits)), "accuracy": float((logits.argmax(axis=1) == labels).mean())}

    loop = Loop(
        model,
        batches,
        validate if len(split.val) else None,
        decoded.paths,
        settings,
        length.epochs,
        run,
        observers=observers,
        checkpoint_every_s=checkpoint_every_s,
        group=group,
    )
    return settings, loop.train()


def check_length(settings: Settings, num_steps: int, *, validated: bool) -> None:
    """
    Raises:
        UserError: the run is too short for what was asked, or lacks what it would go by.
    """
    if settings.schedule == "plateau" and not validated:
        raise UserError("The schedule plateau watches validation, and nothing is held out: choose another --schedule.")
    if settings.lookahead > num_steps:
        raise UserError(
            f"The run has {num_steps} steps, and --lookahead returns every {settings.lookahead}: train for more "
            "epochs, in smaller batches, or without it."
        )


def best_of(run: Path, decoded: DecodedImages, settings: Settings) -> keras.Model:
    """The network with the weights that the loop kept, in float32, since that is what is exported."""
    model = trainable(decoded, settings, "float32")
    load_weights(run / WEIGHTS, model)
    exact = build_for(decoded, settings, "float32")
    exact.set_weights(without_auxiliary_heads(model).get_weights())
    return exact


@dataclass(frozen=True, slots=True)
class Ready:
    """All that training begins with.

    Attributes:
        model: not yet compiled.
        settings: with what `auto` and the network's own dropout came to.
        new: weights that were not taken over from another model, where some were.
    """

    model: keras.Model
    batches: TrainingBatches
    loss: CrossEntropy
    settings: Settings
    new: list[keras.Variable]


def get_ready(
    decoded: DecodedImages, split: Split, settings: Settings, console: Console, *, start: Path | None = None
) -> Ready:
    """
    Args:
        start: a bundle whose weights the network takes over.
    """
    make_repeatable(settings.seed)
    num_parameters = build_for(decoded, settings, "float32").count_params()
    precision, reason = resolve_precision(settings.precision, num_parameters)
    architecture = architecture_of(settings.architecture)
    dropout = resolve_dropout(settings.dropout, architecture, num_parameters, len(split.train))
    epochs = resolve_epochs(settings.epochs, len(split.train))
    settings = replace(settings, precision=precision, dropout=dropout, epochs=epochs)
    console.print(
        f"precision {precision} ({reason}), learning rate {settings.learning_rate:g}, dropout {dropout:g}, "
        f"seed {settings.seed}",
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
    new = []
    if start:
        taken = take_over(without_auxiliary_heads(model), start, decoded.class_names)
        own = {id(weight) for weight in without_auxiliary_heads(model).weights}
        new = taken.new + [weight for weight in model.trainable_variables if id(weight) not in own]
        console.print(f"{taken.num_layers} layers taken over from {start}", highlight=False, soft_wrap=True)
    loss = loss_for(settings, decoded.labels[split.train], len(decoded.class_names))
    return Ready(model, batches, loss, settings, new)


def make_repeatable(seed: int) -> None:
    """The same weights for the same seed, on the same machine with as many threads; it costs some 6 % of the speed."""
    keras.utils.set_random_seed(seed)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def judge(
    exact: keras.Model, decoded: DecodedImages, split: Split, settings: Settings, history: dict[str, list[float]]
) -> Trained:
    """The trained weights in float32, since that is what is exported; calibrated, then tested once."""
    answering = with_mirror_images(exact) if settings.mirror_answers else exact
    batch_size = min(settings.batch_size, len(split.train))  # what training had memory for
    calibration = calibrate(answering, decoded, split, batch_size)
    tested, labels = logits_of(answering, decoded.images, split.test, batch_size), decoded.labels[split.test]
    paths = [decoded.paths[row] for row in split.test]
    predictions = Predictions(decoded.class_names, paths, labels, softmax(tested, calibration.temperature))
    fitted_on = {"method": calibration.method, "num_images": calibration.num_images}
    metrics: dict[str, Any] = {
        "num_images": len(labels),
        "temperature": calibration.temperature,
        "calibration": fitted_on,
    }
    if len(labels):
        before = expected_calibration_error(softmax(tested), labels)
        metrics |= {**measure(predictions), "uncalibrated_error": before}
    return Trained(exact, answering, calibration, settings, history, predictions, metrics)


def calibrate(answering: keras.Model, decoded: DecodedImages, split: Split, batch_size: int) -> Calibration:
    """By the validation split; where there is none, by the training images that rested in the last epochs."""
    method: Method = "validation" if len(split.val) else "resting training images"
    rows = split.val if len(split.val) else resting_rows(decoded, split)
    if not len(rows):
        return Calibration(1.0, "none", 0)
    logits = logits_of(answering, decoded.images, rows, batch_size)
    return Calibration(fit_temperature(logits, decoded.labels[rows]), method, len(rows))
