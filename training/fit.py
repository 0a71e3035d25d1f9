"""Train a network on decoded images: best weights kept, judged on the untouched test split."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from models.registry import architecture_of, build
from training.batches import PlainBatches, TrainingBatches
from training.cache import DecodedImages
from training.loop import WEIGHTS, Loop
from training.losses import CrossEntropy, accuracy, loss_for
from training.metrics import calibrate, expected_calibration_error, measure, softmax
from training.optimizers import PiecewiseLinear, optimizer_for
from training.position import CHECKPOINT_EVERY_S, Observer
from training.predictions import Predictions
from training.progress import Event, TensorBoard, TrainingProgress
from training.settings import Settings, resolve_dropout, resolve_precision
from training.split import Split

START, END = 0.2, 0.07  # of one cycle, as shares of its peak (Jordan, 2024, https://arxiv.org/abs/2404.00498)


@dataclass(frozen=True, slots=True)
class Trained:
    """A network after training, in float32 as it will be exported.

    Attributes:
        temperature: calibrated on the validation split.
        settings: with what `auto` and the network's own dropout came to.
        history: {metric: one value per epoch}.
        predictions: of the test split.
        metrics: of those, with `temperature`, and as `uncalibrated_error` the calibration error without it.
    """

    model: keras.Model
    temperature: float
    settings: Settings
    history: dict[str, list[float]]
    predictions: Predictions
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
    on_event: Callable[[Event], None] = lambda event: None,
    observers: Sequence[Observer] = (),
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> Trained:
    """Train, keep the weights of the lowest validation loss (or the last: `patience`) in `run`, and measure them.

    A run that was cut off goes on from its last checkpoint, to the same weights.

    Raises:
        Diverged: the loss became infinite or not a number.
        ValueError: the architecture is unknown, or not defined for this input.
    """
    make_repeatable(settings.seed)
    exact = build_for(decoded, settings, "float32")
    precision, reason = resolve_precision(settings.precision, exact.count_params())
    architecture = architecture_of(settings.architecture)
    dropout = resolve_dropout(settings.dropout, architecture, exact.count_params(), len(split.train))
    settings = replace(settings, precision=precision, dropout=dropout)
    console.print(
        f"precision {precision} ({reason}), learning rate {settings.learning_rate:g}, dropout {dropout:g}, "
        f"seed {settings.seed}",
        highlight=False,
    )
    batches = TrainingBatches(
        decoded,
        split.train,
        batch_size=settings.batch_size,
        seed=settings.seed,
        augmentation=settings.augmentation,
    )
    model = trainable(decoded, settings, precision)
    epochs = math.ceil(settings.steps / len(batches)) or settings.epochs
    loss = loss_for(settings, decoded.labels[split.train], len(decoded.class_names))
    num_steps = settings.steps or epochs * len(batches)
    compile_for(model, settings, loss, num_steps=num_steps, steps_per_epoch=len(batches))
    validation = PlainBatches(decoded, split.val, batch_size=settings.batch_size)
    loop = Loop(
        model,
        batches,
        lambda: model.evaluate(validation, verbose=0, return_dict=True),
        decoded.paths,
        settings,
        epochs,
        run,
        observers=[
            TrainingProgress(console, epochs=epochs, steps_per_epoch=len(batches), on_event=on_event),
            *([TensorBoard(run / "tensorboard")] if tensorboard else []),
            *observers,
        ],
        checkpoint_every_s=checkpoint_every_s,
    )
    history = loop.train()
    model.load_weights(run / WEIGHTS)
    exact.set_weights(without_auxiliary_heads(model).get_weights())
    return judge(exact, decoded, split, settings, history)


def make_repeatable(seed: int) -> None:
    """The same weights for the same seed, on the same machine with as many threads; it costs some 8 % of the speed."""
    keras.utils.set_random_seed(seed)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def trainable(decoded: DecodedImages, settings: Settings, precision: str) -> keras.Model:
    """The network as it is trained: with its auxiliary heads, where it has some."""
    weight = architecture_of(settings.architecture).auxiliary_weight
    if not weight:
        return build_for(decoded, settings, precision)
    network = build_for(decoded, settings, precision, auxiliary=True)
    model = WithAuxiliaryHeads(network.input, network.output, name=network.name)
    model.auxiliary_weight = weight
    return model


class WithAuxiliaryHeads(keras.Model):
    """Logits of several heads, of which `logits` is the network's own and alone is measured."""

    auxiliary_weight: float

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Validation is without the auxiliary heads, as the exported network is."""
        loss = super().compute_loss(x, y, y_pred["logits"], sample_weight, training)
        auxiliary = [logits for name, logits in y_pred.items() if name != "logits"] if training else []
        return loss + self.auxiliary_weight * sum(self.loss(y, logits) for logits in auxiliary)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)


def without_auxiliary_heads(model: keras.Model) -> keras.Model:
    """The same layers, as many as lead to the network's own logits."""
    return keras.Model(model.input, model.output["logits"]) if isinstance(model.output, dict) else model


def build_for(decoded: DecodedImages, settings: Settings, precision: str, **options: Any) -> keras.Model:
    """The network in this precision; the global policy is put back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build(
            settings.architecture,
            input_shape=decoded.images.shape[1:],
            num_classes=len(decoded.class_names),
            dropout=settings.dropout if isinstance(settings.dropout, int | float) else None,
            **options,
        )
    finally:
        keras.config.set_dtype_policy(before)


def compile_for(
    model: keras.Model, settings: Settings, loss: CrossEntropy, *, num_steps: int, steps_per_epoch: int
) -> None:
    rate = learning_rate(settings, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
    model.compile(
        optimizer_for(settings, rate, model.trainable_variables),
        loss=loss,
        metrics=[keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")],
    )


def learning_rate(
    settings: Settings, *, num_steps: int, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A function of the step; of `plateau` only the start, since the rest depends on what validation finds."""
    peak, schedules = settings.learning_rate, keras.optimizers.schedules
    if settings.schedule == "cosine":
        warmup_steps = max(0, min(settings.warmup_epochs * steps_per_epoch, num_steps - steps_per_epoch))
        return schedules.CosineDecay(
            0.0 if warmup_steps else peak,
            decay_steps=max(1, num_steps - warmup_steps),
            warmup_target=peak if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
    if settings.schedule == "one-cycle":
        points = [(0.0, START), (settings.peak_at * num_steps, 1.0), (float(num_steps), END)]
        return PiecewiseLinear([(step, share * peak) for step, share in points])
    if settings.schedule == "steps":
        # A boundary is the last step at the rate before it: Keras compares with <=.
        boundaries = [round(fraction * num_steps) - 1 for fraction in settings.drop_at]
        return schedules.PiecewiseConstantDecay(
            boundaries, [peak * settings.drop_factor**i for i in range(len(boundaries) + 1)]
        )
    if settings.schedule == "exponential":
        return schedules.ExponentialDecay(
            peak, settings.drop_every * steps_per_epoch, settings.drop_factor, staircase=True
        )
    return peak


def judge(
    exact: keras.Model, decoded: DecodedImages, split: Split, settings: Settings, history: dict[str, list[float]]
) -> Trained:
    """The trained weights in float32, since that is what is exported; calibrated, then tested once."""

    def logits(rows: np.ndarray) -> np.ndarray:
        return exact.predict(PlainBatches(decoded, rows, batch_size=settings.batch_size), verbose=0)

    temperature = calibrate(logits(split.val), decoded.labels[split.val])
    tested, labels = logits(split.test), decoded.labels[split.test]
    paths = [decoded.paths[row] for row in split.test]
    predictions = Predictions(decoded.class_names, paths, labels, softmax(tested, temperature))
    before = expected_calibration_error(softmax(tested), labels)
    metrics = {**measure(predictions), "temperature": temperature, "uncalibrated_error": before}
    return Trained(exact, temperature, settings, history, predictions, metrics)
