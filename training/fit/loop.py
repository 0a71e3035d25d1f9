"""The training loop: killed at any instant, it goes on from its last checkpoint to the same weights.

Keras's `fit` restores the epoch, not the step, and forgets what its callbacks knew (keras issues 14862, 22010). Here
all that decides the weights is in `TrainState` and in variables: weights, statistics, seeds, momentum, averages.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from models.errors import Failed
from training.augment.loader import Batch, Inputs, TrainingBatches
from training.config.settings import Settings
from training.fit.callbacks import Callback
from training.fit.checkpoint import load_checkpoint, save_checkpoint, save_weights
from training.fit.distributed import ALONE, Group
from training.fit.state import CHECKPOINT, CHECKPOINT_EVERY_S, TrainState
from training.network.averaging import Lookahead, evaluation_weights, num_statistics_batches

WEIGHTS = "best.weights.npz"
MAX_SHARE_OF_TIME = 0.02  # of writing checkpoints
MIN_GAIN = 1e-4  # in validation accuracy, below which it has stalled
MAX_NAMED = 5  # images of a batch that ended training


class Diverged(Failed):
    """The loss is no number any more; says where and what to do."""


@dataclass(slots=True)
class Loop:
    """One run of training.

    Attributes:
        model: compiled; its loss and metrics are means over a batch.
        network: whose weights are kept: `model`, or the whole of which `model` is the part that is trained.
        validate: measures the model, {"loss": ..., "accuracy": ...}; None where nothing is held out.
        paths: of all images, to name those of a batch.
        run: directory of the checkpoint and of the best weights.
        group: the processes that train together, of which one writes.
    """

    model: keras.Model
    network: keras.Model
    batches: TrainingBatches
    validate: Callable[[], dict[str, float]] | None
    paths: Sequence[str]
    settings: Settings
    epochs: int
    run: Path
    callbacks: Sequence[Callback] = ()
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    group: Group = ALONE

    def train(self) -> dict[str, list[float]]:
        """To the end; the weights to keep are then in `run/best.weights.npz`. Returns the history.

        Raises:
            Diverged: the loss became infinite or not a number.
            OSError: the disk is full; the last checkpoint is whole.
        """
        self.model.optimizer.build(self.model.trainable_variables)
        average = Lookahead(self.model, self.settings.lookahead, self.epochs * len(self.batches))
        variables = [*self.model.variables, *self.model.optimizer.variables, *average.variables]
        state = load_checkpoint(self.run / CHECKPOINT, variables) if self.group.leads else TrainState()
        state = self.group.share(state, variables)
        clock = CheckpointClock(self.checkpoint_every_s)

        def save() -> None:
            with clock:
                save_checkpoint(self.run / CHECKPOINT, state, variables)

        for callback in self.callbacks:
            callback.begin(state, self.epochs, len(self.batches))
        try:
            while not self.is_over(state):
                self._finish_epoch(state, average, lambda: save() if self.group.leads and clock.is_due() else None)
                if self.group.leads:
                    save()
        finally:
            for callback in self.callbacks:
                callback.end()
        return state.history

    def is_over(self, state: TrainState) -> bool:
        """Whether all epochs are done, or validation has not improved for too long."""
        patience = self.settings.patience
        return state.epoch >= self.epochs or bool(patience and state.waited >= patience)

    def _finish_epoch(self, state: TrainState, average: Lookahead, after_step: Callable[[], None]) -> None:
        """Train from the current step to the end of the epoch, then validate."""
        stopwatch = Stopwatch(self.batches.batch_size)
        for images, targets in stopwatch.waits(self.batches.rest_of_epoch(state.epoch, state.step)):
            figures = self.model.train_on_batch(*self.group.part_of((images, targets)), return_dict=True)
            self._check("loss", figures["loss"], state)
            state.step += 1
            average.update(state.epoch * len(self.batches) + state.step)
            for name, value in figures.items():
                state.sums[name] = state.sums.get(name, 0.0) + float(value)
            for callback in self.callbacks:
                callback.step(state, self._figures(state, stopwatch))
            after_step()
        record = self._figures(state, stopwatch)
        some_batches = self._images_for_statistics(state.epoch)
        with evaluation_weights(self.model, some_batches, step=int(self.model.optimizer.iterations)):
            if self.validate is not None:
                found = self.validate()
                self._check("val_loss", found["loss"], state)
                record |= {f"val_{name}": value for name, value in found.items()}
                self._lower_rate_on_plateau(state, found["accuracy"])
            self._keep_best(state, record.get("val_loss"))
        for name, value in record.items():
            state.history.setdefault(name, []).append(value)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        for callback in self.callbacks:
            callback.epoch(state)

    def _images_for_statistics(self, epoch: int) -> Iterator[Inputs]:
        steps = range(num_statistics_batches(self.batches.batch_size, len(self.batches)))
        return (self.batches.batch(epoch, step)[0] for step in steps)

    def _figures(self, state: TrainState, stopwatch: "Stopwatch") -> dict[str, float]:
        means = {name: total / state.step for name, total in state.sums.items()}
        return {**means, "learning_rate": float(self.model.optimizer.learning_rate), **stopwatch.speed()}

    def _keep_best(self, state: TrainState, loss: float | None) -> None:
        """The weights of the lowest validation loss, or of every epoch where none is awaited."""
        state.waited += 1
        if not self.settings.patience or loss is None or state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.waited = loss, 0
            if self.group.leads:
                save_weights(self.run / WEIGHTS, self.network)

    def _lower_rate_on_plateau(self, state: TrainState, accuracy: float) -> None:
        if self.settings.schedule != "plateau":
            return
        state.stalled += 1
        if accuracy > state.best_accuracy + MIN_GAIN:
            state.best_accuracy, state.stalled = accuracy, 0
        if state.stalled >= self.settings.plateau_epochs:
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) * self.settings.drop_factor
            state.stalled = 0

    def _check(self, name: str, loss: float, state: TrainState) -> None:
        """If the loss is not finite, name the images of the current or last batch in the error."""
        if math.isfinite(loss):
            return
        step, rate = int(self.model.optimizer.iterations), float(self.model.optimizer.learning_rate)
        rows = self.batches.rows(state.epoch, min(state.step, len(self.batches) - 1))
        images = ", ".join(self.paths[row] for row in rows[:MAX_NAMED])
        more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
        weights = self.run / WEIGHTS
        kept = f" {weights} has the best weights before." if weights.exists() else ""
        raise Diverged(
            f"The {name} is {loss} at step {step}, with learning rate {rate:.4g}, after the images {images}{more}. "
            f"Try a smaller --learning-rate.{kept}"
        )


class Stopwatch:
    """Measures the training throughput and the time spent waiting for batches."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._started_s = time.perf_counter()
        self._waited_s = 0.0
        self._num_batches = 0

    def waits(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; how long each is waited for is noted."""
        asked_s = time.perf_counter()
        for batch in batches:
            self._waited_s += time.perf_counter() - asked_s
            self._num_batches += 1
            yield batch
            asked_s = time.perf_counter()

    def speed(self) -> dict[str, float]:
        """Images/s, and the share of the time in which the network waited for images."""
        elapsed_s = time.perf_counter() - self._started_s
        images_per_s = self._num_batches * self._batch_size / elapsed_s
        return {"images_per_s": images_per_s, "input_wait": self._waited_s / elapsed_s}


class CheckpointClock:
    """Says when a checkpoint is due: after so many seconds, and rarely enough that writing takes little of the time."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._took_s = 0.0
        self._written_s = time.monotonic()

    def is_due(self) -> bool:
        rarely_s = self._took_s / MAX_SHARE_OF_TIME if self._every_s else 0.0
        return time.monotonic() - self._written_s >= max(self._every_s, rarely_s)

    def __enter__(self) -> None:
        self._started_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._written_s = time.monotonic()
        self._took_s = self._written_s - self._started_s
