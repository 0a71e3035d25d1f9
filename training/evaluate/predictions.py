"""One table of what a model answered, from which every figure is computed, so that no two can disagree.

A CSV in UTF-8 with a line for each image: `image`, its path; `label` and `predicted`, names of classes; `confidence`,
the probability of what was predicted; then a column `p:<class>` for each class.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.files.durable import replacing

COLUMNS = ("image", "label", "predicted", "confidence")
PREFIX = "p:"


@dataclass(frozen=True, slots=True)
class Predictions:
    class_names: tuple[str, ...]
    paths: Sequence[str]  # of N images
    labels: np.ndarray  # int64 (N,), positions in `class_names`
    probabilities: np.ndarray  # float64 (N, num_classes)

    def write(self, path: Path) -> None:
        """Write probabilities at full precision, so that reading them back gives the same metrics."""
        predicted = self.probabilities.argmax(axis=1)
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow([*COLUMNS, *(PREFIX + name for name in self.class_names)])
            for image, label, answer, row in zip(self.paths, self.labels, predicted, self.probabilities, strict=True):
                shares = [repr(float(p)) for p in row]
                writer.writerow([image, self.class_names[label], self.class_names[answer], shares[answer], *shares])
