"""A run that is cut off, wherever that is, ends with the weights of one that was not."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.errors import UserError
from tests.images import shades, write_folder
from tests.needs import KILLS
from tests.training.decoded import halves_and_quarters, shuffled_labels
from training.config.augmentation import Augmentation
from training.config.settings import Settings
from training.fit import checkpoint
from training.fit.callbacks import Callback
from training.fit.checkpoint import load_checkpoint, save_checkpoint
from training.fit.fit import Trained, fit
from training.fit.loop import WEIGHTS, Diverged
from training.fit.options import FitOptions
from training.fit.state import CHECKPOINT, TrainState

EVERYTHING = Settings(
    "lenet5",
    learning_rate=0.02,
    epochs=5,
    batch_size=8,
    schedule="plateau",
    plateau_epochs=1,
    patience=3,
    dropout=0.3,
    ema=0.9,
    lookahead=3,
    augmentation=Augmentation(rotation=10, saturation=0.2, cutout=0.2, mixup=0.2, cutmix=1.0),
)
STEPS_PER_EPOCH = 4


class Killed(Exception):
    pass


class KillAt(Callback):
    """After so many steps from the beginning of the run."""

    def __init__(self, when: int) -> None:
        self._when = when

    def step(self, state: TrainState, *_: Any) -> None:
        if state.epoch * STEPS_PER_EPOCH + state.step == self._when:
            raise Killed


class KillBeforeTheEpochIsKept(Callback):
    def epoch(self, state: TrainState) -> None:
        raise Killed


def train(
    run: Path,
    settings: Settings,
    *,
    kill_at: int | None = None,
    checkpoint_every_s: float = 0.0,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    run.mkdir(exist_ok=True)
    decoded = shuffled_labels()
    return fit(
        decoded,
        halves_and_quarters(decoded),
        settings,
        run,
        FitOptions(
            callbacks=[*callbacks, *([KillAt(kill_at)] if kill_at else [])], checkpoint_every_s=checkpoint_every_s
        ),
    )


def decided(trained: Trained) -> dict[str, Any]:
    """All that must be equal."""
    history = {name: v for name, v in trained.history.items() if name not in ("images_per_s", "input_wait")}
    weights = [weight.tobytes() for weight in trained.model.get_weights()]
    return {
        "weights": weights,
        "history": history,
        "temperature": trained.calibration.temperature,
        "metrics": trained.metrics,
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return decided(train(tmp_path_factory.mktemp("uninterrupted"), EVERYTHING))


@pytest.mark.parametrize("checkpoint_every_s", [0.0, 1000.0])
def test_cut_off_in_the_middle_of_epochs_and_at_their_ends_it_goes_on_to_the_same_weights(
    uninterrupted: dict[str, Any], tmp_path: Path, checkpoint_every_s: float
) -> None:
    for kill_at in (2, 4, 7, 13):
        with pytest.raises(Killed):
            train(tmp_path, EVERYTHING, kill_at=kill_at, checkpoint_every_s=checkpoint_every_s)
    assert decided(train(tmp_path, EVERYTHING)) == uninterrupted


def test_cut_off_between_the_last_step_of_an_epoch_and_its_end_it_goes_on(
    uninterrupted: dict[str, Any], tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(Killed):
            train(tmp_path, EVERYTHING, callbacks=[KillBeforeTheEpochIsKept()])
    assert decided(train(tmp_path, EVERYTHING)) == uninterrupted


@pytest.mark.parametrize(
    "content", [b"", b"no archive", None, "cut", "other"], ids=["empty", "text", "fewer arrays", "cut", "flipped"]
)
def test_a_checkpoint_that_cannot_be_read_is_said_to_be_damaged(tmp_path: Path, content: Any) -> None:
    variables = [keras.Variable(np.arange(500.0)), keras.Variable(np.zeros(3))]
    path = tmp_path / CHECKPOINT
    save_checkpoint(path, TrainState(), variables)
    whole = path.read_bytes()
    broken = {"cut": whole[: len(whole) // 2], "other": whole.replace(whole[300:310], b"0123456789")}
    if content is None:
        save_checkpoint(path, TrainState(), variables[:1])
    else:
        path.write_bytes(broken.get(content, content) if isinstance(content, str) else content)
    with pytest.raises(UserError, match="is damaged, or of another network or version"):
        load_checkpoint(path, variables)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_one_cycle_in_either_precision_goes_on_to_the_same_weights(tmp_path: Path, precision: Any) -> None:
    settings = replace(EVERYTHING, schedule="one-cycle", patience=0, lookahead=0, epochs=2, precision=precision)
    whole = decided(train(tmp_path / "whole", settings))
    with pytest.raises(Killed):
        train(tmp_path / "cut", settings, kill_at=5)
    assert decided(train(tmp_path / "cut", settings)) == whole


def test_what_is_done_is_not_done_again(uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    """Cut off after training, as while exporting."""
    train(tmp_path, EVERYTHING)
    before = (tmp_path / WEIGHTS).stat().st_mtime_ns
    assert decided(train(tmp_path, EVERYTHING)) == uninterrupted
    assert (tmp_path / WEIGHTS).stat().st_mtime_ns == before


def test_on_a_full_disk_it_says_so_and_the_last_checkpoint_is_whole(
    uninterrupted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        train(tmp_path, EVERYTHING, kill_at=6)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def write_half(file: Any, *_: Any, **__: Any) -> None:
        file.write(before[: len(before) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.np, "savez", write_half)
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path, EVERYTHING)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, WEIGHTS}
    assert decided(train(tmp_path, EVERYTHING)) == uninterrupted


def test_a_run_that_diverged_keeps_its_last_good_state(tmp_path: Path) -> None:
    settings = replace(EVERYTHING, learning_rate=1e30, schedule="cosine", warmup_epochs=0, lookahead=0)
    with pytest.raises(Diverged):
        train(tmp_path, settings)
    with np.load(tmp_path / CHECKPOINT) as saved:
        sums = json.loads(str(saved[saved.files[-1]]))["sums"]
    assert np.isfinite(sums["loss"])


def test_killed_with_9_at_random_moments_the_same_command_ends_with_the_same_bytes(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", {"dark": shades(60, 0, 140), "light": shades(60, 110, 255)})
    command = [
        *(sys.executable, "-m", "training", "fit", "--data", str(data), "--model", "lenet5", "--name", "toy"),
        *("--epochs", "8", "--batch-size", "4", "--ema", "0.9", "--dropout", "0.3", "--patience", "0", "--seed", "3"),
        *("--cache", str(tmp_path / "cache"), "--checkpoint-every", "0", "--progress", "json", "--runs"),
    ]
    for _ in range(KILLS):
        process = subprocess.Popen([*command, str(tmp_path / "cut")], stdout=subprocess.PIPE)
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())  # of the epoch it was cut off in, or of the one after
        time.sleep(random.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        print("killed after", first["event"], first["epoch"], "step", first["step"])
    for name in ("cut", "whole"):
        subprocess.run([*command, str(tmp_path / name)], check=True, capture_output=True)
    (cut,), (whole,) = (list((tmp_path / name).glob("[!.]*")) for name in ("cut", "whole"))
    assert variables(cut) == variables(whole)
    assert {path.name for path in cut.iterdir()} == {path.name for path in whole.iterdir()}


def variables(run: Path) -> dict[str, bytes]:
    """Of the exported SavedModel."""
    reader = tf.train.load_checkpoint(str(run / "bundle" / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("variables/")]
    assert len(names) == 10
    return {name: reader.get_tensor(name).tobytes() for name in names}
