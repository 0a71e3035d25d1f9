"""A checkpoint is whole or it is said to be damaged; it holds everything that a run needs to go on."""

from pathlib import Path

import keras
import numpy as np
import pytest

from models.errors import UserError
from models.networks.registry import build
from training.fit.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from training.fit.state import TrainState

STATE = TrainState(epoch=3, step=2, sums={"loss": 0.1 + 0.2}, history={"loss": [1.5, 0.7, 0.3]}, best_loss=0.25)


def variables(*values: float) -> list[keras.Variable]:
    return [keras.Variable(np.full((2, 3), value, np.float32)) for value in values]


def test_state_and_variables_come_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, STATE, variables(1.25, -2.5))
    again = variables(0, 0)
    assert load_checkpoint(path, again) == STATE
    assert [float(v.numpy()[0, 0]) for v in again] == [1.25, -2.5]


def test_without_a_checkpoint_a_run_begins_at_its_beginning(tmp_path: Path) -> None:
    ours = variables(7)
    assert load_checkpoint(tmp_path / "checkpoint.npz", ours) == TrainState()
    assert float(ours[0].numpy()[0, 0]) == 7


@pytest.mark.parametrize("share", [0, 0.3, 0.9], ids=["empty", "cut", "nearly whole"])
def test_a_file_that_was_cut_short_is_said_to_be_damaged_and_changes_nothing(tmp_path: Path, share: float) -> None:
    path = tmp_path / "run" / "checkpoint.npz"
    path.parent.mkdir()
    save_checkpoint(path, STATE, variables(1, 2))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    ours = variables(7, 8)
    with pytest.raises(UserError, match=r"is damaged, or of another network .* begin anew with --fresh"):
        load_checkpoint(path, ours)
    assert [float(v.numpy()[0, 0]) for v in ours] == [7, 8]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.npz", STATE, variables(1, 2))
    with pytest.raises(UserError, match="of another network"):
        load_checkpoint(tmp_path / "checkpoint.npz", variables(0, 0, 0))


def test_weights_of_a_network_come_back_and_those_of_another_do_not(tmp_path: Path) -> None:
    one, other = (build("lenet5", input_shape=(32, 32, 1), num_classes=2) for _ in range(2))
    save_weights(tmp_path / "weights.npz", one)
    load_weights(tmp_path / "weights.npz", other)
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
    with pytest.raises(UserError, match="of another network"):
        load_weights(tmp_path / "weights.npz", build("nin", input_shape=(32, 32, 1), num_classes=2))
