"""Train a network on decoded images: SGD with momentum, best weights kept, judged on the untouched test split."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from models.registry import build
from training.batches import PlainBatches, TrainingBatches
from training.cache import DecodedImages
from training.metrics import calibrate, measure, softmax
from training.progress import TrainingProgress
from training.settings import Settings, resolve_precision
from training.split import Split

WEIGHTS = "best.weights.h5"


class Diverged(RuntimeError):
    """The loss is no number any more; says where and what to do."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A network after training, in float32 as it will be exported.

    Attributes:
        temperature: calibrated on the validation split.
        history: {metric: one value per epoch}.
        metrics: of the test split.
    """

    model: keras.Model
    temperature: float
    history: dict[str, list[float]]
    metrics: dict[str, Any]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) -> float64 (N, num_classes)."""
        return softmax(self.model.predict(images, verbose=0), self.temperature)


def fit(
    decoded: DecodedImages,
    split: Split,
    settings: Settings,
    run: Path,
    *,
    console: Console,
    tensorboard: bool = False,
) -> Trained:
    """Train, keep the weights of the lowest validation loss in `run`, and measure them.

    Raises:
        Diverged: the loss became infinite or not a number.
        ValueError: the architecture is unknown, or not defined for this input.
    """
    keras.utils.set_random_seed(settings.seed)
    exact = build_for(decoded, settings, "float32")
    precision = resolve_precision(settings.precision, exact.count_params())
    console.print(f"precision {precision}, seed {settings.seed}", highlight=False)
    batches = TrainingBatches(
        decoded,
        split.train,
        batch_size=settings.batch_size,
        seed=settings.seed,
        augmentation=settings.augmentation,
    )
    model = build_for(decoded, settings, precision)
    compile_for(model, settings, steps_per_epoch=len(batches))
    history = model.fit(
        batches,
        epochs=settings.epochs,
        shuffle=False,  # Keras would shuffle the batches of a PyDataset again, by a generator of its own
        validation_data=PlainBatches(decoded, split.val, batch_size=settings.batch_size),
        callbacks=callbacks(settings, run, console, steps_per_epoch=len(batches), tensorboard=tensorboard),
        verbose=0,
    )
    model.load_weights(run / WEIGHTS)
    exact.set_weights(model.get_weights())
    return judge(exact, decoded, split, settings, history.history)


def build_for(decoded: DecodedImages, settings: Settings, precision: str) -> keras.Model:
    """The network in this precision; the global policy is put back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build(
            settings.architecture,
            input_shape=decoded.images.shape[1:],
            num_classes=len(decoded.class_names),
            dropout=settings.dropout,
        )
    finally:
        keras.config.set_dtype_policy(before)


def compile_for(model: keras.Model, settings: Settings, *, steps_per_epoch: int) -> None:
    for variable in model.trainable_variables:
        if variable.name == "kernel":  # Keras's L2 has no 1/2, and SGD(weight_decay=...) is decoupled
            variable.regularizer = keras.regularizers.L2(settings.weight_decay / 2)
    warmup_steps = min(settings.warmup_epochs, settings.epochs - 1) * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else settings.learning_rate,
        decay_steps=max(1, settings.epochs * steps_per_epoch - warmup_steps),
        warmup_target=settings.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
    model.compile(
        keras.optimizers.SGD(schedule, momentum=settings.momentum, nesterov=True, global_clipnorm=settings.clip_norm),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def callbacks(
    settings: Settings, run: Path, console: Console, *, steps_per_epoch: int, tensorboard: bool
) -> list[keras.callbacks.Callback]:
    progress = TrainingProgress(
        console, epochs=settings.epochs, steps_per_epoch=steps_per_epoch, batch_size=settings.batch_size
    )
    chosen = [
        StopWhenNotFinite(),
        keras.callbacks.ModelCheckpoint(run / WEIGHTS, save_best_only=True, save_weights_only=True),
        keras.callbacks.EarlyStopping(patience=settings.patience),
        progress,
    ]
    return [*chosen, keras.callbacks.TensorBoard(run / "tensorboard")] if tensorboard else chosen


class StopWhenNotFinite(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._check("loss", logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._check("val_loss", logs)  # the last step of an epoch shows in validation first

    def _check(self, name: str, logs: dict[str, Any] | None) -> None:
        loss = float((logs or {})[name])
        if not math.isfinite(loss):
            step = int(self.model.optimizer.iterations)
            rate = float(self.model.optimizer.learning_rate)
            raise Diverged(
                f"The {name} is {loss} at step {step}, with learning rate {rate:.4g}. Try a smaller --learning-rate."
            )


def judge(
    exact: keras.Model, decoded: DecodedImages, split: Split, settings: Settings, history: dict[str, list[float]]
) -> Trained:
    """The trained weights in float32, since that is what is exported; calibrated, then tested once."""

    def logits(rows: np.ndarray) -> np.ndarray:
        return exact.predict(PlainBatches(decoded, rows, batch_size=settings.batch_size), verbose=0)

    temperature = calibrate(logits(split.val), decoded.labels[split.val])
    metrics = measure(softmax(logits(split.test), temperature), decoded.labels[split.test], decoded.class_names)
    return Trained(exact, temperature, history, metrics)
