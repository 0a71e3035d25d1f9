"""How a run of training proceeds: everything that does not decide its weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from training.fit.callbacks import Callback, Event, TensorBoard, TrainingProgress
from training.fit.distributed import ALONE, Group
from training.fit.state import CHECKPOINT_EVERY_S


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Attributes:
    console: where progress is printed.
    on_event: called with the figures of each epoch.
    tensorboard: write TensorBoard logs into the run directory.
    callbacks: further callbacks.
    checkpoint_every_s: seconds between checkpoints, at least; an epoch's end is kept in any case.
    group: the processes that train together.
    """

    console: Console = field(default_factory=lambda: Console(quiet=True))
    on_event: Callable[[Event], None] = lambda event: None
    tensorboard: bool = False
    callbacks: Sequence[Callback] = ()
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    group: Group = ALONE

    def callbacks_in(self, run: Path) -> list[Callback]:
        """All callbacks of a run in this directory."""
        logs = [TensorBoard(run / "tensorboard")] if self.tensorboard else []
        return [TrainingProgress(self.console, on_event=self.on_event), *logs, *self.callbacks]
