"""The training state that is saved in the checkpoint, and the interface of callbacks."""

import json
from dataclasses import asdict, dataclass, field

CHECKPOINT = "checkpoint.npz"
FIRST = "first.weights.npz"  # of the network before its last stages were trained
CHECKPOINT_EVERY_S = 60.0  # of the work a kill may cost


@dataclass(slots=True)
class TrainState:
    """How far a run has come, and what it has found out."""

    epoch: int = 0  # of the next step, from 0
    step: int = 0  # of the next step within its epoch, from 0
    sums: dict[str, float] = field(default_factory=dict)  # {metric: sum over the steps of this epoch}
    history: dict[str, list[float]] = field(default_factory=dict)  # {metric: one value per finished epoch}
    best_loss: float | None = None  # the lowest validation loss so far; None before the first epoch's end
    waited: int = 0  # epochs since then
    best_accuracy: float = 0.0  # the highest validation accuracy so far, for the schedule `plateau`
    stalled: int = 0  # epochs since then, or since the rate was lowered

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "TrainState":
        return cls(**json.loads(text))
