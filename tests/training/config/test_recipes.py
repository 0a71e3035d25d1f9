"""Recipes: what they set, what a flag overrides, and that the papers' update rules are the papers'."""

import math
import tomllib
from pathlib import Path

import click
import keras
import numpy as np
import pytest

from models.bundle.preprocessing import InputSpec
from models.networks.registry import architecture_of
from training.cli import app as cli
from training.config.augmentation import Augmentation
from training.config.layers import layers_of_flags
from training.config.recipes import describe_recipe, read_recipe, recipe_names
from training.config.settings import Settings, resolve_epochs
from training.network.build import compile_for
from training.network.losses import CrossEntropy
from training.network.optimizers import learning_rate
from training.runs.plan import fit_to_input, read_settings

PAPERS = ("alexnet-2012", "lecture", "resnet-cifar-2015", "vgg-2014")
OURS = ("best-cifar", "fast-cifar", "fine-tune", "head")


def settings_of(*flags: object, model: str = "alexnet_2012", side: int = 32, few: bool = False) -> Settings:
    """What `fit` would train with on images of this size."""
    arguments = ["--data", "pictures", "--model", model, "--name", "toy", *map(str, flags)]
    with cli.fit.make_context("fit", arguments):
        layers = fit_to_input(layers_of_flags(), "pictures", InputSpec(side, side, 3), few_from_scratch=few)
    return read_settings(architecture_of(model), layers)


def rates(settings: Settings, *, num_steps: int, steps_per_epoch: int) -> list[float]:
    """The learning rate of each step."""
    rate = learning_rate(settings, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
    return [float(rate(step)) if callable(rate) else rate for step in range(num_steps)]


def test_the_recipes_are_there_and_say_where_they_come_from_and_how_they_are_run() -> None:
    assert recipe_names() == ["default", *sorted([*PAPERS, *OURS])]
    for name in recipe_names():
        text = read_recipe(name)
        assert "# Source: https://" in text
        assert "#   striate train --data" in text
        assert f"--recipe {name}" in text
        assert describe_recipe(name).endswith(".")


def test_the_default_recipe_is_the_defaults_of_settings() -> None:
    given = settings_of()
    assert given == Settings("alexnet_2012", given.learning_rate)
    for name, value in tomllib.loads(read_recipe("default")).items():
        assert name == "model" or value == getattr(given, name, None) or value == getattr(given.augmentation, name)


def test_photographs_are_changed_more_unless_a_recipe_or_a_flag_says_otherwise() -> None:
    small, large = settings_of(side=95), settings_of(side=96)
    assert (small.augmentation.min_area, small.patience, small.label_smoothing) == (1, 15, 0)
    assert (large.augmentation.min_area, large.patience, large.label_smoothing) == (0.25, 0, 0.1)
    assert (large.augmentation.shift, large.augmentation.saturation) == (0, 0.3)
    typed = settings_of("--min-area", 0.5, "--patience", 7, side=224)
    assert (typed.augmentation.min_area, typed.patience) == (0.5, 7)
    assert settings_of("--recipe", "vgg-2014", side=224).augmentation.min_area == 1


def test_few_photographs_from_random_weights_are_mixed_unless_somebody_says_how_long_to_train() -> None:
    few, many = settings_of(side=96, few=True), settings_of(side=96)
    assert (few.augmentation.mixup, few.augmentation.cutmix, few.weight_decay) == (0.2, 1, 1e-3)
    assert (many.augmentation.mixup, many.augmentation.cutmix, many.weight_decay) == (0, 0, 5e-4)
    for unmixed in (
        settings_of("--epochs", 5, side=96, few=True),
        settings_of("--steps", 50, side=96, few=True),
        settings_of("--recipe", "vgg-2014", side=96, few=True),
        settings_of(side=95, few=True),
    ):
        assert (unmixed.augmentation.mixup, unmixed.augmentation.cutmix) == (0, 0)
    assert settings_of("--cutmix", 0, side=96, few=True).augmentation.mixup == 0.2


@pytest.mark.parametrize(("num_images", "epochs"), [(60, 200), (664, 151), (3334, 30), (50_000, 30)])
def test_few_images_are_seen_more_often(num_images: int, epochs: int) -> None:
    assert resolve_epochs(Settings("resnet18", 0.1), num_images) == epochs
    assert resolve_epochs(Settings("resnet18", 0.1, epochs=7), num_images) == 7


@pytest.mark.parametrize("mixed", [Augmentation(mixup=0.2), Augmentation(cutmix=1)])
@pytest.mark.parametrize(("num_images", "epochs"), [(60, 400), (664, 377), (50_000, 30)])
def test_mixed_images_are_seen_still_more_often(num_images: int, epochs: int, mixed: Augmentation) -> None:
    assert resolve_epochs(Settings("resnet18", 0.1, augmentation=mixed), num_images) == epochs


@pytest.mark.parametrize(("num_images", "epochs"), [(100, 12), (664, 7), (10_000, 3)])
def test_the_last_stages_alone_need_fewer_epochs(num_images: int, epochs: int) -> None:
    assert resolve_epochs(Settings("resnet18", 0.1, train="tail"), num_images) == epochs
    assert resolve_epochs(Settings("resnet18", 0.1, train="tail", epochs=7), num_images) == 7


def test_alexnets_recipe_is_the_papers() -> None:
    given = settings_of("--recipe", "alexnet-2012")
    assert (given.optimizer, given.batch_size, given.momentum, given.nesterov) == ("sgd", 128, 0.9, False)
    assert (given.learning_rate, given.weight_decay, given.decay_params, given.clip_norm) == (0.01, 0.0005, "all", 0)
    assert (given.schedule, given.drop_factor) == ("plateau", 0.1)
    assert (given.augmentation.flip, given.augmentation.pca_noise) == (True, 0.1)
    assert given.augmentation.contrast > 0


def test_vggs_recipe_is_the_papers() -> None:
    given = settings_of("--recipe", "vgg-2014", model="vgg16")
    assert (given.batch_size, given.epochs, given.learning_rate, given.schedule) == (256, 74, 0.01, "plateau")
    assert given.dropout == 0.5


def test_the_resnets_rate_falls_at_32k_and_48k_of_64k_steps() -> None:
    given = settings_of("--recipe", "resnet-cifar-2015", model="resnet20")
    assert (given.steps, given.batch_size, given.weight_decay, given.momentum) == (64_000, 128, 1e-4, 0.9)
    assert (given.augmentation.shift * 32, given.augmentation.flip) == (4, True)
    rate = learning_rate(given, num_steps=given.steps, steps_per_epoch=351)
    steps = {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
    assert {step: round(float(rate(step)), 6) for step in steps} == steps


def test_the_lectures_rate_shrinks_every_second_epoch() -> None:
    given = settings_of("--recipe", "lecture", model="basic_cnn")
    assert (given.optimizer, given.batch_size, given.epochs, given.weight_decay) == ("adam", 32, 30, 0)
    assert given.dropout == "paper"
    expected = [0.0005 * 0.95 ** (epoch // 2) for epoch in range(6) for _ in range(3)]
    np.testing.assert_allclose(rates(given, num_steps=18, steps_per_epoch=3), expected, rtol=1e-5)


def test_the_default_rate_rises_and_then_falls_as_a_cosine() -> None:
    found = rates(settings_of("--learning-rate", 1), num_steps=40, steps_per_epoch=4)
    np.testing.assert_allclose(found[:5], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)
    np.testing.assert_allclose(found[4:], [(1 + math.cos(math.pi * i / 36)) / 2 for i in range(36)], atol=1e-6)


@pytest.mark.parametrize("recipe", ["alexnet-2012", "vgg-2014"])
def test_the_update_is_the_papers_rule_step_by_step(recipe: str) -> None:
    """v <- 0.9 v - 0.0005 e w - e g;  w <- w + v, for every weight."""
    rate = 0.01
    settings = settings_of("--recipe", recipe, "--learning-rate", rate)
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(6, 4)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    weights = [np.asarray(w, np.float64) for w in model.get_weights()]
    velocities = [np.zeros_like(w) for w in weights]
    compile_for(model, settings, CrossEntropy(np.ones(3)), num_steps=8, steps_per_epoch=2)
    for _ in range(8):
        model.train_on_batch(x, labels)
        for w, v, g in zip(weights, velocities, softmax_gradients(*weights, x, labels), strict=True):
            v *= 0.9
            v -= 0.0005 * rate * w + rate * g
            w += v
        for mine, theirs in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-7)


def softmax_gradients(kernel: np.ndarray, bias: np.ndarray, x: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    logits = x @ kernel + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    errors = (probabilities - np.eye(logits.shape[1])[labels]) / len(labels)
    return [x.T @ errors, errors.sum(axis=0)]


@pytest.mark.parametrize(("decayed", "shrunk"), [("kernels", [True, False]), ("all", [True, True])])
def test_kernels_alone_decay_unless_all_shall(decayed: str, shrunk: list[bool]) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.set_weights([np.ones((4, 3)), np.ones(3)])
    settings = settings_of("--decayed", decayed, "--warmup-epochs", 0)
    compile_for(model, settings, CrossEntropy(np.ones(3)), num_steps=2, steps_per_epoch=1)
    model.optimizer.apply([keras.ops.zeros((4, 3)), keras.ops.zeros(3)], model.trainable_variables)
    assert [bool((np.asarray(variable) < 1).all()) for variable in model.trainable_variables] == shrunk


@pytest.mark.parametrize(("decayed", "shrunk"), [("kernels", [0.995, 1]), ("all", [0.995, 0.995])])
def test_decoupled_decay_scales_weights_beside_the_step(decayed: str, shrunk: list[float]) -> None:
    """Also under Adam, whose steps a coupled decay would make much longer."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.set_weights([np.ones((4, 3)), np.ones(3)])
    flags = ("--optimizer", "adam", "--learning-rate", 0.1, "--warmup-epochs", 0, "--weight-decay", 0)
    settings = settings_of(*flags, "--decoupled-weight-decay", 0.05, "--decayed", decayed)
    compile_for(model, settings, CrossEntropy(np.ones(3)), num_steps=2, steps_per_epoch=1)
    model.optimizer.apply([keras.ops.zeros((4, 3)), keras.ops.zeros(3)], model.trainable_variables)
    assert [float(np.asarray(v).mean()) for v in model.trainable_variables] == pytest.approx(shrunk)


def test_one_cycle_rises_and_falls_in_straight_lines() -> None:
    settings = settings_of("--schedule", "one-cycle", "--learning-rate", 2, "--peak-at", 0.25)
    expected = [*np.linspace(0.4, 2, 11), *np.linspace(2, 0.14, 31)[1:-1]]
    np.testing.assert_allclose(rates(settings, num_steps=40, steps_per_epoch=4), expected, rtol=1e-5)


def test_a_flag_overrides_the_recipe() -> None:
    given = settings_of("--recipe", "lecture", "--batch-size", 64, "--flip")
    assert (given.batch_size, given.augmentation.flip, given.optimizer) == (64, True, "adam")


def test_gradients_are_clipped_where_there_is_no_batch_normalisation() -> None:
    assert settings_of(model="vgg16").clip_norm == 5
    assert settings_of(model="vgg16_bn").clip_norm == 0
    assert settings_of("--clip-norm", 2, model="vgg16_bn").clip_norm == 2


def test_adam_has_a_rate_of_its_own() -> None:
    assert settings_of("--optimizer", "adam").learning_rate == 0.001
    assert settings_of("--optimizer", "adam", model="resnet18").learning_rate == 0.001


def test_rates_drop_in_order_and_finite_numbers_are_wanted() -> None:
    with pytest.raises(ValueError, match=r"ascending fractions of the run, not at \(0.75, 0.5\)"):
        settings_of("--schedule", "steps", "--drop-at", 0.75, "--drop-at", 0.5)
    with pytest.raises(click.BadParameter, match="no finite number"):
        settings_of("--learning-rate", "inf")


def test_warm_up_longer_than_the_run_leaves_a_cosine() -> None:
    assert rates(settings_of("--learning-rate", 1), num_steps=3, steps_per_epoch=10)[0] == 1
    short = rates(settings_of("--learning-rate", 1), num_steps=10, steps_per_epoch=10)
    assert short[:4] == [pytest.approx(step / 3, abs=1e-5) for step in range(4)], "at most three tenths of the run"


def test_epochs_and_steps_together_are_refused() -> None:
    with pytest.raises(click.UsageError, match="--epochs and --steps both say"):
        settings_of("--epochs", 3, "--steps", 100)


def test_epochs_on_the_command_line_override_a_recipes_steps() -> None:
    assert settings_of("--recipe", "resnet-cifar-2015").steps == 64_000
    given = settings_of("--recipe", "resnet-cifar-2015", "--epochs", 10)
    assert (given.steps, given.epochs) == (0, 10)


def test_a_recipe_of_ones_own_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('schedule = "steps"\ndrop_at = [0.3, 0.6]\nepochs = 7\n')
    given = settings_of("--recipe", tmp_path / "mine.toml")
    assert (given.recipe, given.schedule, given.drop_at, given.epochs) == (
        str(tmp_path / "mine.toml"),
        "steps",
        (0.3, 0.6),
        7,
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("epoch = 3\n", "says 'epoch'; what it can say is .*batch_size, .*epochs"),
        ("publish = true\n", "says 'publish'"),
        ("epochs = \n", "is not valid TOML"),
        ('epochs = "many"\n', "has epochs = 'many', which is not of the type"),
        ("epochs = 7.9\n", "has epochs = 7.9"),
        ("epochs = true\n", "has epochs = True"),
        ("epochs = [3]\n", r"has epochs = \[3\]"),
        ("learning_rate = nan\n", "nan is not a finite number"),
        ("colour = true\n", "has pca_noise = True"),
        ("flip = 3\n", "has flip = 3"),
        ("drop_at = 0.5\n", "has drop_at = 0.5"),
        ("dropout = 1.5\n", "1.5 is not in the range"),
        ('schedule = "sawtooth"\n', "has schedule = 'sawtooth'"),
    ],
)
def test_a_recipe_that_cannot_be_used_says_why(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(click.BadParameter, match=complaint):
        settings_of("--recipe", tmp_path / "mine.toml")


@pytest.mark.parametrize("name", ["alexnet-2013", "README.md", "../settings", "nowhere.toml"])
def test_an_unknown_recipe_is_an_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(click.BadParameter, match=r"choose from default, alexnet-2012, .* or give a TOML file"):
        settings_of("--recipe", name)


@pytest.mark.parametrize(
    ("schedule", "missing"), [("steps", "--drop-at"), ("exponential", "--drop-every"), ("plateau", "--plateau-epochs")]
)
def test_a_schedule_that_lacks_something_says_what(schedule: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"The schedule {schedule} needs {missing}"):
        settings_of("--schedule", schedule)
