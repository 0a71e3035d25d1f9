"""Where a run stands, in one file that is never half written: every variable, and how far training has come."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from models.durable import replacing
from training.position import Position

CHECKPOINT = "checkpoint.npz"


def save_checkpoint(path: Path, position: Position, variables: Sequence[keras.Variable]) -> None:
    """Replace the checkpoint in one step.

    Raises:
        OSError: the disk is full, or the like; the checkpoint that was there still is.
    """
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, *values, position=np.array(position.to_text()))


def load_checkpoint(path: Path, variables: Sequence[keras.Variable]) -> Position:
    """Give the variables their values back; the beginning of a run where there is no checkpoint."""
    if not path.exists():
        return Position()
    with np.load(path) as saved:
        for i, variable in enumerate(variables):
            variable.assign(saved[f"arr_{i}"])
        return Position.from_text(str(saved["position"]))


def save_weights(path: Path, network: keras.Model) -> None:
    """Replace the file in one step. (Keras's own writing moves arrays between processes, and waits for all of them.)"""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, *network.get_weights())


def load_weights(path: Path, network: keras.Model) -> None:
    """Of a network like the one whose weights they are."""
    with np.load(path) as saved:
        network.set_weights([saved[f"arr_{i}"] for i in range(len(saved.files))])
