"""What a person sees while a network trains: a bar in a terminal, a line an epoch in a pipe."""

import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress(keras.callbacks.Callback):
    """Loss, accuracy, images/s and the time left of the whole run."""

    def __init__(self, console: Console, *, epochs: int, steps_per_epoch: int, batch_size: int) -> None:
        super().__init__()
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._console = console
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

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch
        self._epoch_started_s = time.perf_counter()
        self._bar.update(self._task, description=f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._images_per_s = (batch + 1) * self._batch_size / (time.perf_counter() - self._epoch_started_s)
        done = self._epoch * self._steps_per_epoch + batch + 1
        self._bar.update(self._task, completed=done, status=f"{self._images_per_s:,.0f} images/s")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        self._console.print(
            f"epoch {epoch + 1:>3}/{self._epochs}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}  "
            f"val_loss {logs['val_loss']:.4f}  val_accuracy {logs['val_accuracy']:.4f}  "
            f"{self._images_per_s:,.0f} images/s",
            highlight=False,
            soft_wrap=True,
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._bar.stop()


def decoding_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("decoding"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} images"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )
