"""How a network is trained: one frozen object, written into the run directory as it was used."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from training.augment import Augmentation

LEARNING_RATES = {"lenet5": 0.05, "alexnet": 0.01}  # without batch normalisation a network bears less
LEARNING_RATE = 0.1  # at batch 128, as He et al. train
SMALLEST_FOR_BFLOAT16 = 1_000_000  # parameters; lenet5 trains no faster in bfloat16, and a little worse
Precision = Literal["auto", "float32", "mixed_bfloat16"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides the weights, but for the images.

    Attributes:
        learning_rate: at its peak, after warm-up; the schedule is a cosine down to 0.
        weight_decay: coefficient of w in the gradient of every kernel (L2 coupled with the loss, as in the papers).
        clip_norm: the gradient is scaled down to this norm; what keeps a network without batch normalisation alive.
        dropout: None is the rate of the network's paper.
        patience: epochs without a lower validation loss after which training stops.
    """

    architecture: str
    learning_rate: float
    epochs: int = 30
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 5.0
    warmup_epochs: int = 1
    dropout: float | None = None
    patience: int = 15
    seed: int = 0
    precision: Precision = "auto"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def default_learning_rate(architecture: str) -> float:
    return LEARNING_RATES.get(architecture, LEARNING_RATE)


def resolve_precision(precision: Precision, num_parameters: int, *, cpu_info: Path = Path("/proc/cpuinfo")) -> str:
    """`auto` is mixed_bfloat16 for a large network where a GPU or the CPU computes in it, else float32."""
    if precision != "auto":
        return precision
    import keras

    on_gpu = bool(keras.distribution.list_devices("gpu"))
    flags = cpu_info.read_text() if cpu_info.exists() else ""
    gains = on_gpu or "avx512_bf16" in flags or "amx_bf16" in flags
    return "mixed_bfloat16" if gains and num_parameters >= SMALLEST_FOR_BFLOAT16 else "float32"
