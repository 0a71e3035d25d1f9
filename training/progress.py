"""What a person sees while a network trains: a bar in a terminal, a line an epoch in a pipe."""

import time
from collections.abc import Callable
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Event = dict[str, Any]


class TrainingProgress(keras.callbacks.Callback):
    """Loss, accuracy, learning rate, images/s and the time left of the whole run."""

    def __init__(
        self,
        console: Console,
        *,
        epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        """
        Args:
            on_event: called with the figures of each epoch.
        """
        super().__init__()
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._console = console
        self._on_event = on_event
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[status]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=epochs * steps_per_epoch, status="")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._bar.start()
        self._started_s = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch
        self._epoch_started_s = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._images_per_s = (batch + 1) * self._batch_size / (time.perf_counter() - self._epoch_started_s)
        if not self._bar.disable:
            logs = logs or {}
            self._bar.update(
                self._task,
                completed=self._epoch * self._steps_per_epoch + batch + 1,
                description=f"epoch {self._epoch + 1}/{self._epochs}, step {batch + 1}/{self._steps_per_epoch}",
                status=f"loss {float(logs['loss']):.4f}  accuracy {float(logs['accuracy']):.4f}  "
                f"rate {self._rate():.3g}  {self._images_per_s:,.0f} images/s",
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {name: float(value) for name, value in (logs or {}).items()}
        self._console.print(
            f"epoch {epoch + 1:>3}/{self._epochs}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}  "
            f"val_loss {logs['val_loss']:.4f}  val_accuracy {logs['val_accuracy']:.4f}  "
            f"{self._images_per_s:,.0f} images/s",
            highlight=False,
            soft_wrap=True,
        )
        elapsed_s = time.perf_counter() - self._started_s
        self._on_event(
            {
                "event": "epoch",
                "epoch": epoch + 1,
                "epochs": self._epochs,
                "step": (epoch + 1) * self._steps_per_epoch,
                **logs,
                "learning_rate": self._rate(),
                "images_per_s": round(self._images_per_s, 1),
                "elapsed_s": round(elapsed_s, 2),
                "left_s": round(elapsed_s / (epoch + 1) * (self._epochs - epoch - 1), 2),
            }
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._bar.stop()

    def _rate(self) -> float:
        return float(self.model.optimizer.learning_rate)


def decoding_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("decoding"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} images"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )
