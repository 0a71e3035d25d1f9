"""Train a network on decoded images: best weights kept, judged on the untouched test split."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from models.errors import UserError
from models.networks.registry import architecture_of
from training.config.settings import FEWEST_FOR_TAIL, Settings, run_length
from training.data.decoded import DecodedImages
from training.data.split import Split
from training.evaluate.calibration import Calibration, Method, calibrated_losses, fit_temperature, resting_rows, softmax
from training.evaluate.metrics import expected_calibration_error, measure
from training.evaluate.predict import logits_of
from training.evaluate.predictions import Predictions
from training.fit.checkpoint import load_weights, save_weights
from training.fit.distributed import leave_group
from training.fit.frozen import Frozen
from training.fit.head import Head, fit_head
from training.fit.loop import WEIGHTS, Loop
from training.fit.options import FitOptions
from training.fit.setup import Ready, get_ready
from training.fit.state import CHECKPOINT, FIRST
from training.fit.tail import cut, logits_of_tail
from training.network.build import build_for, compile_for, trainable, with_mirror_images, without_auxiliary_heads

MOST_COMPARED = 1000  # validation images on which the networks before and after fine-tuning are compared

Answer = Callable[..., np.ndarray]  # (images, rows) -> logits (N, num_classes)


class Course(NamedTuple):
    """What came of training, beside the weights.

    Attributes:
        settings: with what `auto` and the network's own dropout came to.
        history: {metric: one value per epoch}.
        out_of_fold: float (N, num_classes), logits of the training images by networks that have not learnt from them,
            where there are such.
    """

    settings: Settings
    history: dict[str, list[float]]
    out_of_fold: np.ndarray | None = None


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
            `uncalibrated_error` the calibration error without it, and as `fine_tuning` the validation losses from
            before and after it, where the last stages were trained.
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
    options: FitOptions,
    *,
    start: Path | None = None,
) -> Trained:
    """Train, keep the weights of the lowest validation loss (or the last: `patience`) in `run`, and measure them.

    A run that was cut off goes on from its last checkpoint, to the same weights.

    Args:
        start: a bundle to start from, instead of random weights.

    Raises:
        Diverged: the loss became infinite or not a number.
        UserError: the architecture is unknown, or not defined for this input.
    """
    course = train(decoded, split, settings, run, options, start=start)
    leave_group(options.group)
    exact = best_of(run / WEIGHTS, decoded, course.settings)
    compared: dict[str, Any] = {}
    if (run / FIRST).exists() and len(split.val):
        exact, compared["fine_tuning"] = better_of(run, exact, decoded, split, course.settings, options)
    trained = judge(exact, decoded, split, course)
    return replace(trained, metrics={**trained.metrics, **compared})


def train(
    decoded: DecodedImages, split: Split, settings: Settings, run: Path, options: FitOptions, *, start: Path | None
) -> Course:
    """The part of `fit` that all processes of a group take part in."""
    ready = get_ready(decoded, split, settings, options.console, start=start)
    model, batches, settings = ready.model, ready.batches, ready.settings
    options.group.check_batch_size(batches.batch_size)
    length = run_length(settings, len(batches) * batches.batch_size)
    check_length(settings, length.num_steps, validated=bool(len(split.val)))
    steps = {"num_steps": length.num_steps, "steps_per_epoch": length.steps_per_epoch}
    if settings.train == "head":
        head = train_head(ready, decoded, split, options)
        save_weights(run / WEIGHTS, model)
        return Course(settings, head.history, head.out_of_fold)
    answer: Answer = partial(logits_of, model, batch_size=batches.batch_size)
    if settings.train == "tail":
        if last_layer_is_new(ready) and not (run / CHECKPOINT).exists():
            train_head(ready, decoded, split, options)
        if not (run / CHECKPOINT).exists():
            save_weights(run / FIRST, model)
        model, answer = train_only_tail(ready)
    compile_for(model, settings, ready.loss, **steps, new=ready.new)

    def validate() -> dict[str, float]:
        logits, labels = answer(images=decoded.images, rows=split.val), decoded.labels[split.val]
        return {"loss": float(ready.loss(labels, logits)), "accuracy": float((logits.argmax(axis=1) == labels).mean())}

    loop = Loop(
        model,
        ready.model,
        batches,
        validate if len(split.val) else None,
        decoded.paths,
        settings,
        length.epochs,
        run,
        callbacks=options.callbacks_in(run),
        checkpoint_every_s=options.checkpoint_every_s,
        group=options.group,
    )
    return Course(settings, loop.train())


def last_layer_is_new(ready: Ready) -> bool:
    """Whether it has random weights, and not those of the model that training starts from."""
    return ready.model.get_layer("logits").kernel.path in {variable.path for variable in ready.new}


def train_only_tail(ready: Ready) -> tuple[keras.Model, Answer]:
    """The part of the network that is trained, and the function that computes the whole network's logits.

    From now on batches go through the other part.
    """
    frozen, tail = cut(ready.model, architecture_of(ready.settings.architecture).tail)
    ready.batches.frozen = Frozen(frozen)
    return tail, partial(logits_of_tail, tail, ready.batches.frozen)


def train_head(ready: Ready, decoded: DecodedImages, split: Split, options: FitOptions) -> Head:
    """Train the last layer alone."""
    mirrors = ready.settings.augmentation.flip
    head = fit_head(ready.model, decoded, split, mirrors=mirrors, weights=ready.loss.class_weights)
    validated = f", {head.history['val_accuracy'][0]:.2%} of the validation images" if len(split.val) else ""
    rejected = ", without mirror images, which raised the loss" if mirrors and not head.mirrored else ""
    options.console.print(f"last layer fitted, C = {head.strength:.3g}{rejected}{validated}", highlight=False)
    return head


def check_length(settings: Settings, num_steps: int, *, validated: bool) -> None:
    if settings.schedule == "plateau" and not validated:
        raise UserError("The schedule plateau watches validation, and nothing is held out: choose another --schedule.")
    if settings.lookahead > num_steps:
        raise UserError(
            f"The run has {num_steps} steps, and --lookahead returns every {settings.lookahead}: train for more "
            "epochs, in smaller batches, or without it."
        )


def better_of(
    run: Path, tuned: keras.Model, decoded: DecodedImages, split: Split, settings: Settings, options: FitOptions
) -> tuple[keras.Model, dict[str, Any]]:
    """The network after fine-tuning, or the one before it if that is better by the validation loss; the losses."""
    first = best_of(run / FIRST, decoded, settings)
    rows = split.val[:: math.ceil(len(split.val) / MOST_COMPARED)]
    logits = (logits_of(model, decoded.images, rows, settings.batch_size) for model in (first, tuned))
    before, after = (calibrated_losses(each, decoded.labels[rows]) for each in logits)
    kept = is_better(before, after, few=len(split.train) < FEWEST_FOR_TAIL)
    losses = {"loss_before": float(before.mean()), "loss_after": float(after.mean())}
    figures = {"kept": kept, **losses, "num_images": len(rows)}
    if kept:
        return tuned, figures
    options.console.print(
        f"the mean loss on {len(rows)} validation images was {before.mean():.3f} before fine-tuning and is "
        f"{after.mean():.3f} after it, each with its best temperature: the weights from before fine-tuning are kept",
        highlight=False,
        soft_wrap=True,
    )
    shutil.copy(run / FIRST, run / WEIGHTS)
    return first, figures


def is_better(before: np.ndarray, after: np.ndarray, *, few: bool) -> bool:
    """Whether fine-tuning is kept, by the losses (N,) of the same images before and after it.

    Fine-tuning mostly helps, so its mean loss may be higher by the standard error of the difference; with few images to
    learn from it mostly does not, so its mean loss has to be lower by as much.
    """
    fall = before - after
    error = fall.std() / math.sqrt(len(fall))
    return bool(fall.mean() > error if few else fall.mean() >= -error)


def best_of(weights: Path, decoded: DecodedImages, settings: Settings) -> keras.Model:
    """The network with weights that training kept, in float32, since that is what is exported."""
    model = trainable(decoded, settings, "float32")
    load_weights(weights, model)
    exact = build_for(decoded, settings, "float32")
    exact.set_weights(without_auxiliary_heads(model).get_weights())
    return exact


def judge(exact: keras.Model, decoded: DecodedImages, split: Split, course: Course) -> Trained:
    """The trained weights in float32, since that is what is exported; calibrated, then tested once."""
    settings = course.settings
    answering = with_mirror_images(exact) if settings.mirror_answers else exact
    batch_size = min(settings.batch_size, len(split.train))  # what training had memory for
    calibration = calibrate(answering, decoded, split, batch_size, course.out_of_fold)
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
    return Trained(exact, answering, calibration, settings, course.history, predictions, metrics)


def calibrate(
    answering: keras.Model, decoded: DecodedImages, split: Split, batch_size: int, out_of_fold: np.ndarray | None
) -> Calibration:
    """By cross-validation, where there was one; else by the validation split; where there is none, by the training
    images that rested in the last epochs.
    """
    if out_of_fold is not None:
        temperature = fit_temperature(out_of_fold, decoded.labels[split.train])
        return Calibration(temperature, "cross-validation", len(out_of_fold))
    method: Method = "validation" if len(split.val) else "resting training images"
    rows = split.val if len(split.val) else resting_rows(decoded, split)
    if not len(rows):
        return Calibration(1.0, "none", 0)
    logits = logits_of(answering, decoded.images, rows, batch_size)
    return Calibration(fit_temperature(logits, decoded.labels[rows]), method, len(rows))
