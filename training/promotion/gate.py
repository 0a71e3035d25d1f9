"""The settings of the gate, the evidence that it is given, and its findings; `training.promotion.rules` judges."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from training.evaluate.significance import Paired

Outcome = Literal["pass", "hold", "reject"]
Verdict = Literal["promote", "hold", "reject"]
NotNegative = Annotated[float, Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Gate:
    """What a challenger has to reach; the table `[gate]` of a job.

    Attributes:
        alpha: significance level of the tests for "better" and for "worse".
        promote: `better` wants a significant gain on the frozen hold-out or on the newest images; `not-worse` does not.
        margin: largest loss of accuracy that is allowed, with confidence 1 - alpha.
        class_margin: largest loss of a class's recall that is allowed.
        min_accuracy, min_recall: absolute floors of accuracy and of each class's recall.
        newest_share: accuracy on the newest images must not be significantly below this share of that on the others:
            labels that cannot be learned are likely wrong.
        calibration_margin: largest increase of the expected calibration error.
        max_latency_ratio: largest ratio of the lower-quartile latency of single-image requests to the champion's; 0: no
            limit.
        max_latency_ms: largest lower-quartile latency; 0: no limit.
        max_size_ratio: largest ratio of the size, of the SavedModel in bytes, to that of the champion; 0: no limit.
        max_size_bytes: largest size; 0: no limit.
    """

    alpha: Annotated[float, Meta(gt=0, lt=0.5)] = 0.05
    promote: Literal["better", "not-worse"] = "better"
    margin: NotNegative = 0.01
    class_margin: NotNegative = 0.05
    min_accuracy: NotNegative = 0.0
    min_recall: NotNegative = 0.0
    newest_share: NotNegative = 0.5
    calibration_margin: NotNegative = 0.03
    max_latency_ratio: NotNegative = 1.5
    max_latency_ms: NotNegative = 0.0
    max_size_ratio: NotNegative = 2.0
    max_size_bytes: Annotated[int, Meta(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class ModelPredictions:
    """The predictions of one model, in a real service, for the N held-out images."""

    class_names: tuple[str, ...]  # its own, in its order
    probabilities: np.ndarray  # float64 (N, num_classes)
    latencies_ms: list[float]  # of single-image requests
    num_bytes: int  # size of one form of its network (`models.bundle.manifest.loaded_bytes`)

    def names(self) -> np.ndarray:
        return np.array(self.class_names, object)[self.probabilities.argmax(axis=1)]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Attributes:
    labels: names of the N images' classes.
    newest: bool (N,): images that have come since a job last judged; the others are the frozen hold-out.
    champion: None where nothing is live yet.
    leaked: held-out images that the challenger was trained on.
    unknown: models that it descends from, of which nobody knows what they were trained on.
    golden: what was wrong with its golden images' answers; empty where nothing was.
    """

    labels: np.ndarray
    newest: np.ndarray
    challenger: ModelPredictions
    champion: ModelPredictions | None
    leaked: int = 0
    unknown: list[str] = field(default_factory=list)
    golden: str = ""

    def right(self, answered: ModelPredictions) -> np.ndarray:
        return answered.names() == self.labels

    def paired(self, rows: np.ndarray) -> Paired:
        assert self.champion is not None  # rules without a champion compare with nothing
        return Paired.of(self.right(self.champion)[rows], self.right(self.challenger)[rows])


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule came to."""

    rule: str
    outcome: Outcome
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)
