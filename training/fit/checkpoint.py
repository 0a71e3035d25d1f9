"""The checkpoint of a run: all variables and the training state, in one file that is replaced atomically."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np

from models.errors import UserError
from models.files.durable import replacing
from training.fit.state import TrainState

DAMAGED = (BadZipFile, EOFError, KeyError, TypeError, ValueError, zlib.error)  # what reading a broken file raises


def save_checkpoint(path: Path, state: TrainState, variables: Sequence[keras.Variable]) -> None:
    """Replace the checkpoint in one step.

    Raises:
        OSError: the disk is full, or the like; the checkpoint that was there still is.
    """
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, *values, np.array(state.to_text()))


def load_checkpoint(path: Path, variables: Sequence[keras.Variable]) -> TrainState:
    """Give the variables their values back; the beginning of a run where there is no checkpoint.

    Raises:
        UserError: it is damaged, or of another network or version.
    """
    if not path.exists():
        return TrainState()
    values = read_arrays(path, len(variables) + 1)
    try:
        for variable, value in zip(variables, values[:-1], strict=True):
            variable.assign(value)
        return TrainState.from_text(str(values[-1]))
    except DAMAGED as error:
        raise unusable(path) from error


def save_weights(path: Path, network: keras.Model) -> None:
    """Replace the file in one step. (Keras's own writing moves arrays between processes, and waits for all of them.)"""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, *network.get_weights())


def load_weights(path: Path, network: keras.Model) -> None:
    """Load weights that `save_weights` wrote for a network of the same architecture.

    Raises:
        UserError: the file is damaged, or of another network.
    """
    network.set_weights(read_arrays(path, len(network.weights)))


def read_arrays(path: Path, count: int) -> list[np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file) as saved:
            values = [saved[f"arr_{i}"] for i in range(len(saved.files))]
    except DAMAGED as error:
        raise unusable(path) from error
    if len(values) != count:
        raise unusable(path)
    return values


def unusable(path: Path) -> UserError:
    return UserError(
        f"{path} is damaged, or of another network or version of Striate; delete {path.parent}, or begin anew with "
        "--fresh."
    )
