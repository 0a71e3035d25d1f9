"""Settings are merged once from defaults, a recipe and what a person gave, and each knows where it comes from."""

from pathlib import Path

import click
import pytest

from models.errors import UserError
from training.config.layers import Layers, layers_of_table
from training.config.settings import Settings


def recipe(folder: Path, text: str) -> str:
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


def test_what_is_given_overrides_the_recipe_and_the_recipe_the_defaults(tmp_path: Path) -> None:
    mine = recipe(tmp_path, "epochs = 7\nmomentum = 0.5\n")
    layers = layers_of_table({"recipe": mine, "epochs": 3})
    assert (layers["epochs"], layers.sources["epochs"]) == (3, "job")
    assert (layers["momentum"], layers.sources["momentum"]) == (0.5, f"recipe {mine}")
    assert (layers["batch_size"], layers.sources["batch_size"]) == (64, "default")
    assert layers.is_given("epochs")
    assert not layers.is_given("momentum")


def test_a_layer_below_what_is_given_leaves_that_alone() -> None:
    layers = layers_of_table({"patience": 3}).under_what_is_given({"patience": 0, "shift": 0.0}, "photographs")
    assert (layers["patience"], layers["shift"]) == (3, 0.0)
    assert (layers.sources["patience"], layers.sources["shift"]) == ("job", "photographs")


@pytest.mark.parametrize(("old", "new"), [("shift_rate", "bn_bias_lr_scale"), ("colour", "pca_noise")])
def test_settings_of_earlier_versions_are_read_under_their_old_names(tmp_path: Path, old: str, new: str) -> None:
    assert layers_of_table({old: 0.5})[new] == 0.5
    assert layers_of_table({"recipe": recipe(tmp_path, f"{old} = 0.25\n")})[new] == 0.25


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"epoch": 3}, "epoch is no setting of training; did you mean epochs"),
        ({"publish": True}, "publish is no setting of training"),
        ({"epochs": "many"}, "not a valid integer"),
        ({"epochs": -1}, "not in the range"),
        ({"epochs": True}, "neither a number nor a text"),
        ({"epochs": [1]}, "neither a number nor a text"),
        ({"epochs": {"at_most": 3}}, "neither a number nor a text"),
        ({"split": [80, 10, 10]}, "neither a number nor a text"),
        ({"drop_at": [{}]}, "neither a number nor a text"),
        ({"flip": "maybe"}, "neither true nor false"),
        ({"flip": 1}, "neither true nor false"),
        ({"colour": 0.1, "pca_noise": 0.1}, "colour is the old name of pca_noise: give one of them"),
        ({"learning_rate": float("nan")}, "nan"),
        ({"schedule": "sawtooth"}, "is not one of"),
        ({"drop_at": [0.5, 2]}, "not in the range"),
        ({"split": "50/50"}, "is no split"),
    ],
)
def test_a_table_that_says_what_cannot_be_is_refused(table: dict[str, object], complaint: str) -> None:
    with pytest.raises((UserError, click.UsageError)) as error:
        layers_of_table(table)
    said = error.value.format_message() if isinstance(error.value, click.ClickException) else str(error.value)
    assert complaint in said


def test_a_key_may_be_written_as_the_flag_is_and_one_value_for_a_list() -> None:
    layers = layers_of_table({"batch-size": 32, "drop_at": 0.5, "channels": 1, "dropout": "paper", "split": "80/10/10"})
    assert (layers["batch_size"], layers["drop_at"], layers["channels"]) == (32, (0.5,), "1")
    assert (layers["dropout"], layers["fractions"]) == ("paper", (0.1, 0.1))


def test_the_defaults_are_those_of_the_settings() -> None:
    layers: Layers = layers_of_table({})
    defaults = Settings("lenet5", learning_rate=0.1).flat()
    depends = {"architecture", "learning_rate", "clip_norm", "flip", "scaling"}  # on the network, its start or the data
    assert {name: layers[name] for name in defaults.keys() - depends} == {
        name: value for name, value in defaults.items() if name not in depends
    }
