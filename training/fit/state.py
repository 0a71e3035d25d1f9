"""How far a run has come, and what looks on while it goes."""

import json
from dataclasses import asdict, dataclass, field

CHECKPOINT = "checkpoint.npz"
CHECKPOINT_EVERY_S = 60.0  # of the work a kill may cost


@dataclass(slots=True)
class Position:
    """How far a run has come, and what it has found out.

    Attributes:
        epoch: of the next step, from 0.
        step: of the next step within its epoch, from 0.
        sums: {metric: sum over the steps of this epoch}.
        history: {metric: one value per finished epoch}.
        best_loss: the lowest validation loss so far; None before the first epoch's end.
        waited: epochs since then.
        best_accuracy: the highest validation accuracy so far, for the schedule `plateau`.
        stalled: epochs since then, or since the rate was lowered.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    best_loss: float | None = None
    waited: int = 0
    best_accuracy: float = 0.0
    stalled: int = 0

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Position":
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Speed:
    """Of an epoch, since its start or since the run was taken up again.

    Attributes:
        input_wait: share of the time in which the network waited for images.
    """

    images_per_s: float
    input_wait: float


class Observer:
    """What looks on: a bar, a report, a log. It decides nothing."""

    def begin(self, position: Position, epochs: int, steps_per_epoch: int) -> None:
        """Before the first step, or when a run is taken up again."""

    def step(self, position: Position, figures: dict[str, float], speed: Speed) -> None:
        """After each step; `figures` are means of the epoch so far, and the learning rate."""

    def epoch(self, position: Position) -> None:
        """After each epoch, whose figures are the last of `position.history`."""

    def end(self) -> None:
        """After the last epoch, or when training failed."""
