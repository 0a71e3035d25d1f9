"""Training at a tiny size: it learns, it can be repeated, and it keeps what was best."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from rich.console import Console

from tests.training.decoded import halves_and_quarters, separable, shuffled_labels
from training.augment.loader import Batch, TrainingBatches
from training.config import settings as setting
from training.config.augmentation import Augmentation
from training.config.settings import Settings
from training.data.decoded import DecodedImages
from training.data.split import Split
from training.evaluate.calibration import fit_temperature, softmax
from training.evaluate.metrics import negative_log_likelihood
from training.fit.fit import Trained, fit
from training.fit.loop import WEIGHTS, Diverged
from training.fit.options import FitOptions
from training.network import build as networks

NOTHING = Augmentation(flip=False, shift=0, contrast=0, brightness=0)
SETTINGS = Settings(
    "lenet5", learning_rate=0.02, epochs=4, batch_size=8, weight_decay=0, augmentation=NOTHING, precision="float32"
)


def train(decoded: DecodedImages, run: Path, settings: Settings = SETTINGS, *, tensorboard: bool = False) -> Trained:
    """`fit` on half of the images; what it prints is in `run/console.txt`."""
    run.mkdir()
    text = io.StringIO()
    console = Console(file=text, width=200)
    trained = fit(decoded, halves_and_quarters(decoded), settings, run, FitOptions(console, tensorboard=tensorboard))
    (run / "console.txt").write_text(text.getvalue())
    return trained


def weights(trained: Trained) -> np.ndarray:
    return np.concatenate([weight.ravel() for weight in trained.model.get_weights()])


def decided(history: dict[str, list[float]]) -> dict[str, list[float]]:
    """What the seed decides, and not the machine's speed."""
    return {name: values for name, values in history.items() if name not in ("images_per_s", "input_wait")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fit") / "run"


@pytest.fixture(scope="module")
def learnt(run: Path) -> Trained:
    return train(separable(), run, tensorboard=True)


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Labels that nothing explains: validation gets worse while training goes on."""
    settings = replace(SETTINGS, learning_rate=0.05, epochs=40, patience=4)
    return train(shuffled_labels(), tmp_path_factory.mktemp("overfitted") / "run", settings)


def test_two_classes_that_differ_are_told_apart(learnt: Trained) -> None:
    assert learnt.metrics["accuracy"] == 1
    assert learnt.metrics["num_images"] == 16
    assert learnt.metrics["per_class"].keys() == {"class 0", "class 1"}


def test_every_epoch_is_recorded_and_printed(learnt: Trained, run: Path) -> None:
    assert learnt.history.keys() >= {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert {len(values) for values in learnt.history.values()} == {4}
    lines = [line for line in (run / "console.txt").read_text().splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in lines] == ["1/4", "2/4", "3/4", "4/4"]
    assert "images/s" in lines[-1]


def test_tensorboard_logs_are_written_where_they_are_asked_for(learnt: Trained, run: Path) -> None:
    assert {path.parent.name for path in (run / "tensorboard").rglob("events.out.tfevents.*")} == {
        "train",
        "validation",
    }
    assert (run / WEIGHTS).is_file()


def test_the_same_seed_gives_the_same_weights(learnt: Trained, tmp_path: Path) -> None:
    again = train(separable(), tmp_path / "again")
    np.testing.assert_array_equal(weights(again), weights(learnt))
    assert decided(again.history) == decided(learnt.history)
    assert again.metrics == learnt.metrics
    assert not (tmp_path / "again" / "tensorboard").exists()


def test_another_seed_gives_others(learnt: Trained, tmp_path: Path) -> None:
    other = train(separable(), tmp_path / "other", replace(SETTINGS, seed=1, epochs=1))
    assert np.abs(weights(other) - weights(learnt)).max() > 0.01


def test_training_stops_when_validation_gets_no_better(overfitted: Trained) -> None:
    losses = overfitted.history["val_loss"]
    assert len(losses) == int(np.argmin(losses)) + 1 + 4
    assert len(losses) < 40


def test_the_weights_of_the_lowest_validation_loss_are_kept(overfitted: Trained) -> None:
    losses = overfitted.history["val_loss"]
    decoded = shuffled_labels()
    rows = halves_and_quarters(decoded).val
    logits = overfitted.model.predict(decoded.images[rows], verbose=0)
    assert negative_log_likelihood(softmax(logits), decoded.labels[rows]) == pytest.approx(min(losses), abs=1e-4)
    assert losses[-1] > min(losses) + 1e-3


def test_answers_are_calibrated_on_the_validation_split(overfitted: Trained) -> None:
    decoded = shuffled_labels()
    rows = halves_and_quarters(decoded).val
    logits = overfitted.model.predict(decoded.images[rows], verbose=0)
    temperature = fit_temperature(logits, decoded.labels[rows])
    assert (overfitted.calibration.method, overfitted.calibration.num_images) == ("validation", 16)
    assert overfitted.calibration.temperature == pytest.approx(temperature, rel=1e-3)
    expected = softmax(logits, temperature)
    np.testing.assert_allclose(overfitted.probabilities(decoded.images[rows]), expected, atol=1e-4)


def test_a_loss_that_is_no_number_ends_training_with_where_and_what_to_do(tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, epochs=2, warmup_epochs=0)
    images = r"(\d+\.png, ){4}\d+\.png and 3 more"
    told = rf"loss is (nan|inf) at step [2-4], with learning rate .*, after the images {images}\. Try a smaller"
    with pytest.raises(Diverged, match=told):
        train(separable(), tmp_path / "run", settings)


def test_the_images_that_broke_the_loss_are_named_and_the_best_weights_before_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = TrainingBatches.batch

    def break_the_third_epoch(batches: TrainingBatches, epoch: int, step: int) -> Batch:
        images, labels = fetch(batches, epoch, step)
        broken = (epoch, step) == (2, 1)
        return images, np.full((8, 2), np.nan, np.float32) if broken else np.eye(2, dtype=np.float32)[labels]

    monkeypatch.setattr(TrainingBatches, "batch", break_the_third_epoch)
    with pytest.raises(Diverged) as raised:
        train(separable(), tmp_path / "run", SETTINGS)
    batches = TrainingBatches(
        separable(), halves_and_quarters(separable()).train, batch_size=8, seed=0, augmentation=NOTHING
    )
    named = ", ".join(f"{row}.png" for row in batches.rows(2, 1)[:5])
    assert f"at step 10, with learning rate 0.01, after the images {named} and 3 more" in str(raised.value)
    assert f"{tmp_path / 'run' / WEIGHTS} has the best weights before." in str(raised.value)
    assert (tmp_path / "run" / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schedule": "plateau", "plateau_epochs": 1}, "nothing is held out: choose another --schedule"),
        ({"lookahead": 99, "epochs": 2, "patience": 0}, "The run has 16 steps, and --lookahead returns every 99"),
    ],
)
def test_a_run_that_could_not_do_what_is_asked_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    decoded = separable()
    everything = Split(np.arange(64), np.arange(0), np.arange(0))
    with pytest.raises(ValueError, match=told):
        fit(decoded, everything, replace(SETTINGS, **changes), tmp_path, FitOptions())


def test_a_loss_that_is_no_number_only_in_validation_is_told_too(tmp_path: Path) -> None:
    """One step an epoch: the loss before it is finite, and so there is nothing to see until validation."""
    settings = replace(SETTINGS, learning_rate=1e30, epochs=1, batch_size=64)
    with pytest.raises(Diverged, match="--learning-rate"):
        train(separable(), tmp_path / "run", settings)


def test_what_was_trained_in_bfloat16_is_judged_in_float32(tmp_path: Path) -> None:
    trained = train(separable(), tmp_path / "run", replace(SETTINGS, precision="mixed_bfloat16"))
    assert {layer.compute_dtype for layer in trained.model.layers if layer.weights} == {"float32"}
    assert trained.metrics["accuracy"] == 1
    assert (
        "precision mixed_bfloat16 (as asked), learning rate 0.02, dropout 0, seed 0"
        in (tmp_path / "run" / "console.txt").read_text()
    )


def test_a_plateau_of_validation_lowers_the_rate_and_the_run_goes_on(tmp_path: Path) -> None:
    settings = replace(
        SETTINGS, schedule="plateau", plateau_epochs=2, drop_factor=0.5, epochs=8, patience=0, learning_rate=0.008
    )
    trained = train(separable(), tmp_path / "run", settings)
    assert max(trained.history["val_accuracy"]) == 1  # from then on nothing is better
    rates = trained.history["learning_rate"]
    assert rates[0] == pytest.approx(0.008)
    assert rates[-1] in (pytest.approx(0.004), pytest.approx(0.002), pytest.approx(0.001))
    assert len(rates) == 8


def test_a_run_may_be_counted_in_steps(tmp_path: Path) -> None:
    trained = train(separable(), tmp_path / "run", replace(SETTINGS, steps=9))  # four steps an epoch
    assert len(trained.history["loss"]) == 3


@pytest.mark.parametrize(("fewest", "rate"), [(10, 0.3), (10_000, 0.0)])
def test_a_small_network_on_many_images_trains_without_dropout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fewest: int, rate: float
) -> None:
    monkeypatch.setattr(setting, "FEWEST_FOR_DROPOUT", fewest)
    trained = train(separable(channels=3), tmp_path / "run", replace(SETTINGS, architecture="basic_cnn", epochs=1))
    assert trained.settings.dropout == rate
    assert f"dropout {rate:g}, seed 0" in (tmp_path / "run" / "console.txt").read_text()


def test_the_average_of_the_weights_is_judged_and_kept(tmp_path: Path) -> None:
    """With a share of almost 1 it stays where the weights began, however far they go themselves."""
    settings = replace(SETTINGS, ema=0.9999, patience=0, epochs=3)
    keras.utils.set_random_seed(settings.seed)
    networks.build_for(separable(), settings, "float32")  # as `fit` does, to count parameters
    start = networks.trainable(separable(), settings, "float32").get_weights()
    averaged = train(separable(), tmp_path / "averaged", settings)
    itself = train(separable(), tmp_path / "itself", replace(settings, ema=0.0))
    moved = [np.abs(a - b).max() for a, b in zip(averaged.model.get_weights(), start, strict=True)]
    assert max(moved) < 0.01
    assert max(np.abs(a - b).max() for a, b in zip(itself.model.get_weights(), start, strict=True)) > 0.05
    assert averaged.history["val_loss"][-1] > 5 * itself.history["val_loss"][-1]
    assert averaged.history["loss"] == pytest.approx(itself.history["loss"])


def test_mixed_images_are_learnt_from_and_plain_ones_judged(tmp_path: Path) -> None:
    mixed = replace(SETTINGS, augmentation=replace(NOTHING, mixup=0.2, cutmix=1.0), epochs=6)
    trained = train(separable(), tmp_path / "run", mixed)
    assert trained.metrics["accuracy"] == 1
    assert trained.history["val_accuracy"][-1] == 1
    assert max(trained.history["accuracy"]) <= 1


@pytest.mark.parametrize("weight_decay", [0.0, 10.0])
def test_the_loss_that_is_shown_and_by_which_the_best_weights_are_chosen_has_no_penalty_in_it(
    tmp_path: Path, weight_decay: float
) -> None:
    trained = train(separable(), tmp_path / "run", replace(SETTINGS, epochs=1, weight_decay=weight_decay))
    assert trained.history["val_loss"][0] < 2
