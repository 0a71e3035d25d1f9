"""The table of predictions that a run writes, read back."""

import csv
from pathlib import Path

import numpy as np

from training.evaluate.predictions import COLUMNS, PREFIX, Predictions


def read_predictions(path: Path) -> Predictions:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    class_names = tuple(name.removeprefix(PREFIX) for name in header[len(COLUMNS) :])
    positions = {name: i for i, name in enumerate(class_names)}
    return Predictions(
        class_names,
        [row[0] for row in rows],
        np.array([positions[row[1]] for row in rows], np.int64),
        np.array([row[len(COLUMNS) :] for row in rows], np.float64),
    )
