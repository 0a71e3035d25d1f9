"""Training the end of a network: which weights change, that the parts are the whole, and that a killed run goes on."""

from io import StringIO
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from models.networks.registry import architecture_of, build
from tests.training.decoded import decoded_images
from training.config.settings import Settings, settings_for
from training.data.decoded import DecodedImages
from training.data.split import Split
from training.evaluate.predict import logits_of
from training.fit.callbacks import Callback
from training.fit.fit import fit, is_better
from training.fit.frozen import BATCH_SIZE, Frozen, listed
from training.fit.loop import WEIGHTS
from training.fit.options import FitOptions
from training.fit.state import FIRST, TrainState
from training.fit.tail import cut, logits_of_tail

NAME, SIDE = "efficientnet_lite0", 32
TRAIN, VAL, TEST = np.arange(32), np.arange(32, 40), np.arange(40, 48)
SPLIT = Split(TRAIN, VAL, TEST)
BY_CHANCE = np.array([0.5, -0.5, 0.4, -0.3])  # of a mean far below its standard error


@pytest.fixture(scope="module", params=[True, False], ids=["multi-stage", "last stage"])
def network(request: pytest.FixtureRequest) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build(NAME, input_shape=(SIDE, SIDE, 3), num_classes=2, multi_stage=request.param)


@pytest.fixture(scope="module")
def decoded() -> DecodedImages:
    labels = np.arange(48) % 2
    noise = np.random.default_rng(0).integers(0, 100, (48, SIDE, SIDE, 3), dtype=np.uint8)
    return decoded_images(noise + (120 * labels[:, None, None, None]).astype(np.uint8), labels)


@pytest.mark.parametrize("count", [0, 1, BATCH_SIZE, 2 * BATCH_SIZE + 3])
def test_the_frozen_part_answers_as_keras_does_for_any_number_of_images(
    network: keras.Model, decoded: DecodedImages, count: int
) -> None:
    frozen, _ = cut(network, architecture_of(NAME).tail)
    rows = np.random.default_rng(0).permutation(48)[:count]
    found = Frozen(frozen).of_all(decoded.images, rows)
    assert [len(array) for array in found] == [count] * len(frozen.outputs)
    answers = listed(frozen.predict_on_batch(decoded.images[rows])) if count else found
    for array, expected in zip(found, answers, strict=True):
        np.testing.assert_allclose(array, expected, atol=0.02 * np.abs(expected).max(initial=0))


def test_frozen_part_and_tail_are_the_network(network: keras.Model, decoded: DecodedImages) -> None:
    frozen, tail = cut(network, architecture_of(NAME).tail)
    found = logits_of_tail(tail, lambda images: listed(frozen.predict_on_batch(images)), decoded.images, np.arange(20))
    np.testing.assert_allclose(found, logits_of(network, decoded.images, np.arange(20), 20), atol=1e-4)


@pytest.fixture(autouse=True)
def as_if_of_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.fit.fit.FEWEST_FOR_TAIL", 0)


def settings(**others: object) -> Settings:
    chosen = {"epochs": 2, "batch_size": 8, "optimizer": "adam", "learning_rate": 1e-3, "patience": 0}
    return settings_for(architecture_of(NAME), **{**chosen, "train": "tail", "multi_stage": True, **others})


def test_only_the_last_stages_change_and_no_statistics(decoded: DecodedImages, tmp_path: Path) -> None:
    before = fit(decoded, SPLIT, settings(train="head"), made(tmp_path / "head"), FitOptions()).model
    tuned = fit(decoded, SPLIT, settings(), made(tmp_path / "tail"), FitOptions())
    changed = {
        mine.path.split("/")[0]
        for mine, given in zip(tuned.model.variables, before.variables, strict=True)
        if not np.array_equal(mine, given)
    }
    assert changed
    stages = ("stage7", "stage8", "stage9", "logits")
    assert all(name.startswith(stages) and not name.endswith(("_bn", "_depthwise")) for name in changed)
    assert any(name.startswith("stage7") for name in changed)


class Killed(Exception):
    pass


class KilledAt(Callback):
    """Ends a run after a step, as a kill would: nothing is written any more."""

    def __init__(self, epoch: int, step: int) -> None:
        self._at = epoch, step

    def step(self, state: TrainState, figures: dict[str, float]) -> None:
        if (state.epoch, state.step) == self._at:
            raise Killed


def test_a_run_that_was_killed_goes_on_to_the_same_weights(decoded: DecodedImages, tmp_path: Path) -> None:
    whole = fit(decoded, SPLIT, settings(), made(tmp_path / "whole"), FitOptions())
    run = made(tmp_path / "killed")
    options = FitOptions(callbacks=[KilledAt(1, 2)], checkpoint_every_s=0)
    with pytest.raises(Killed):
        fit(decoded, SPLIT, settings(), run, options)
    again = fit(decoded, SPLIT, settings(), run, FitOptions())
    assert again.history["loss"] == whole.history["loss"]
    for mine, given in zip(again.model.variables, whole.model.variables, strict=True):
        np.testing.assert_array_equal(mine, given, err_msg=mine.path)
    assert (run / WEIGHTS).exists()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_fine_tuning_with_many_images_is_kept_unless_it_is_worse_by_more_than_chance() -> None:
    before = np.array([0.1, 0.2, 0.3, 0.4])
    assert is_better(before, before - 0.1, few=False)
    assert is_better(before, before, few=False)
    assert is_better(before, before + BY_CHANCE, few=False)
    assert not is_better(before, before + 0.1, few=False)


def test_fine_tuning_with_few_images_is_kept_only_if_it_is_better_by_more_than_chance() -> None:
    """Of 20 faces and other pictures, three validated: 99 % were right before fine-tuning, and 94 % after it."""
    before = np.array([0.1, 0.2, 0.3, 0.4])
    assert is_better(before, before - 0.1, few=True)
    assert not is_better(before, before, few=True)
    assert not is_better(before, before - BY_CHANCE, few=True)
    assert not is_better(before, before + 0.1, few=True)


def test_a_network_that_became_worse_is_not_kept(
    decoded: DecodedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.fit.is_better", lambda *losses, few: False)  # 8 images would hardly show it
    printed = StringIO()
    trained = fit(decoded, SPLIT, settings(), made(tmp_path / "tail"), FitOptions(Console(file=printed, width=1000)))
    done = trained.metrics["fine_tuning"]
    assert (done["kept"], done["num_images"]) == (False, 8)
    assert f"was {done['loss_before']:.3f} before fine-tuning and is {done['loss_after']:.3f}" in printed.getvalue()
    assert "the mean loss on 8 validation images" in printed.getvalue()
    first, best = (tmp_path / "tail" / name for name in (FIRST, WEIGHTS))
    assert first.read_bytes() == best.read_bytes()
