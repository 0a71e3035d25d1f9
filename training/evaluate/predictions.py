"""What a model says of many images, as one table: everything else about its quality is computed from this.

    predictions.csv       image, label, predicted, confidence, and the probability of each class (`p:<class>`)
    predictions.parquet   the same

With more than 20 classes the CSV file has `label_probability` instead, and the five most probable classes with theirs
(`top1`, `p1`, ...); Parquet always has all.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from models.files.durable import replacing

COLUMNS = ("image", "label", "predicted", "confidence")
PREFIX = "p:"
MOST_COLUMNS = 20  # classes with a column each in CSV: with 1,000, ImageNet's 50,000 images would fill a gigabyte
NUM_TOP = 5
TOP_COLUMNS = ("label_probability", *(f"{column}{i}" for i in range(1, NUM_TOP + 1) for column in ("top", "p")))


@dataclass(frozen=True, slots=True)
class Predictions:
    class_names: tuple[str, ...]
    paths: Sequence[str]  # of N images
    labels: np.ndarray  # int64 (N,), positions in `class_names`
    probabilities: np.ndarray  # float64 (N, num_classes)

    def write(self, path: Path) -> None:
        """As Parquet if the suffix is .parquet, else as CSV; probabilities are at full precision, so that reading them
        back gives the same metrics.
        """
        with replacing(path) as temporary:
            if path.suffix.lower() == ".parquet":
                pyarrow.parquet.write_table(self._table(), temporary)
            else:
                self._write_csv(temporary)

    def _write_csv(self, path: Path) -> None:
        few = len(self.class_names) <= MOST_COLUMNS
        columns = tuple(PREFIX + name for name in self.class_names) if few else TOP_COLUMNS
        predicted = self.probabilities.argmax(axis=1)
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*COLUMNS, *columns])
            for image, label, answer, row in zip(self.paths, self.labels, predicted, self.probabilities, strict=True):
                names = self.class_names[label], self.class_names[answer]
                cells = map(exact, row) if few else self._top_cells(label, row)
                writer.writerow([image, *names, exact(row[answer]), *cells])

    def _top_cells(self, label: int, row: np.ndarray) -> list[str]:
        """The cells of TOP_COLUMNS; of equal probabilities the first class comes first, as in `predicted`."""
        cells = [exact(row[label])]
        for i in np.argsort(-row, kind="stable")[:NUM_TOP]:
            cells += [self.class_names[i], exact(row[i])]
        return cells

    def _table(self) -> pyarrow.Table:
        names = np.array(self.class_names, object)
        columns: dict[str, Any] = {
            "image": [path.encode("utf-8", "backslashreplace").decode() for path in self.paths],
            "label": names[self.labels],
            "predicted": names[self.probabilities.argmax(axis=1)],
            "confidence": self.probabilities.max(axis=1, initial=0),
        }
        shares = {PREFIX + name: self.probabilities[:, i] for i, name in enumerate(self.class_names)}
        return pyarrow.table({**columns, **shares})


def exact(probability: float) -> str:
    """With all digits."""
    return repr(float(probability))
