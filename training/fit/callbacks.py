"""What a person sees while a network trains: a bar in a terminal, a line an epoch in a pipe."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from training.fit.state import TrainState

Event = dict[str, Any]


class Callback:
    """Read-only training callback, such as a progress bar, a report or a log."""

    def begin(self, state: TrainState, epochs: int, steps_per_epoch: int) -> None:
        """Before the first step, or when a run is taken up again."""

    def step(self, state: TrainState, figures: dict[str, float]) -> None:
        """After each step; `figures` are means of the epoch so far, the learning rate, and Stopwatch's speed."""

    def epoch(self, state: TrainState) -> None:
        """After each epoch, whose figures are the last of `state.history`."""

    def end(self) -> None:
        """After the last epoch, or when training failed."""


class TrainingProgress(Callback):
    """Loss, accuracy, learning rate, images/s and the time left of the whole run."""

    def __init__(self, console: Console, *, on_event: Callable[[Event], None] = lambda event: None) -> None:
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

    def begin(self, state: TrainState, epochs: int, steps_per_epoch: int) -> None:
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._began_at = self._steps(state)
        self._task = self._bar.add_task("training", total=epochs * self._steps_per_epoch, status="")
        if self._began_at:
            where = f"epoch {state.epoch + 1}, step {state.step}"
            self._console.print(f"going on from the checkpoint at {where}", highlight=False)
            self._on_event({"event": "resumed", "epoch": state.epoch + 1, "step": self._began_at})
        self._bar.start()
        self._started_s = time.perf_counter()

    def step(self, state: TrainState, figures: dict[str, float]) -> None:
        if not self._bar.disable:
            self._bar.update(
                self._task,
                completed=self._steps(state),
                description=f"epoch {state.epoch + 1}/{self._epochs}, step {state.step}/{self._steps_per_epoch}",
                status=f"loss {figures['loss']:.4f}  accuracy {figures['accuracy']:.4f}  "
                f"rate {figures['learning_rate']:.3g}  {figures['images_per_s']:,.0f} images/s",
            )

    def epoch(self, state: TrainState) -> None:
        figures = {name: values[-1] for name, values in state.history.items()}
        validated = "".join(f"{name} {figures[name]:.4f}  " for name in ("val_loss", "val_accuracy") if name in figures)
        self._console.print(
            f"epoch {state.epoch:>3}/{self._epochs}  loss {figures['loss']:.4f}  accuracy {figures['accuracy']:.4f}"
            f"  {validated}{figures['images_per_s']:,.0f} images/s",
            highlight=False,
            soft_wrap=True,
        )
        elapsed_s = time.perf_counter() - self._started_s
        steps = self._steps(state)
        steps_left = self._epochs * self._steps_per_epoch - steps
        self._on_event(
            {
                "event": "epoch",
                "epoch": state.epoch,
                "epochs": self._epochs,
                "step": steps,
                **figures,
                "images_per_s": round(figures["images_per_s"], 1),
                "input_wait": round(figures["input_wait"], 3),
                "elapsed_s": round(elapsed_s, 2),
                "left_s": round(elapsed_s / max(1, steps - self._began_at) * steps_left, 2),
            }
        )

    def end(self) -> None:
        self._bar.stop()

    def _steps(self, state: TrainState) -> int:
        return state.epoch * self._steps_per_epoch + state.step


class TensorBoard(Callback):
    """Each epoch's figures as TensorBoard reads them."""

    def __init__(self, folder: Path) -> None:
        from tensorflow import summary

        self._summary = summary
        self._writers = {side: summary.create_file_writer(str(folder / side)) for side in ("train", "validation")}

    def epoch(self, state: TrainState) -> None:
        for name, values in state.history.items():
            side = "validation" if name.startswith("val_") else "train"
            with self._writers[side].as_default(step=state.epoch):
                self._summary.scalar(f"epoch_{name.removeprefix('val_')}", values[-1])
            self._writers[side].flush()
