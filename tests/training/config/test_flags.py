"""The flags of training: one for each setting, under a heading, and types that refuse what makes no sense."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from training.config.augmentation import Augmentation
from training.config.fields import OLD_NAMES, settings_of
from training.config.flags import EVERYDAY, HEADINGS, DropoutRate, Finite, FlagsByHeading, Fractions, training_flags
from training.config.settings import Settings


@click.command(cls=FlagsByHeading)
@training_flags
def command(**flags: Any) -> None:
    """Prints what a flag came to."""
    click.echo(repr(flags))


def given(*arguments: str) -> dict[str, Any]:
    context = command.make_context("fit", list(arguments))
    return context.params


def test_every_setting_has_a_flag_of_its_name() -> None:
    names = {field.name for field, _ in settings_of(Settings, Augmentation)}
    assert names <= given().keys()


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_a_flag_is_read_under_its_old_name(old: str, new: str) -> None:
    value = {"decayed": "all"}.get(old, "0.5")
    assert given(f"--{old.replace('_', '-')}", value)[new] == given(f"--{new.replace('_', '-')}", value)[new]


def test_help_shows_what_most_runs_need_first_and_every_flag_once() -> None:
    shown = CliRunner().invoke(command, ["--help"]).output
    headings = [line[:-1] for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings[0] == EVERYDAY
    assert set(HEADINGS.values()) <= set(headings)
    assert len(headings) == len(set(headings))
    first = shown[: shown.index(headings[1])]
    assert all(
        flag in first for flag in ("--model", "--recipe", "--learning-rate", "--epochs", "--batch-size", "--split")
    )
    assert "--mixup" not in first


@pytest.mark.parametrize(
    ("text", "fractions"), [("70/15/15", (0.15, 0.15)), ("85/5/10", (0.05, 0.1)), ("100/0/0", (0.0, 0.0))]
)
def test_a_split_is_read_as_fractions(text: str, fractions: tuple[float, float]) -> None:
    assert Fractions().convert(text, None, None) == pytest.approx(fractions)


@pytest.mark.parametrize("text", ["70/30", "70/15/16", "90/10/0", "0/50/50", "a/b/c", "70/15/-15", "70/15/1\u0665", ""])
def test_a_split_that_holds_nothing_out_by_mistake_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no split"):
        Fractions().convert(text, None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_numbers_are_finite(text: str) -> None:
    with pytest.raises(click.BadParameter, match="finite"):
        Finite(None, None).convert(text, None, None)


def test_dropout_is_a_rate_or_the_papers() -> None:
    kind = DropoutRate()
    assert [kind.convert(value, None, None) for value in ("paper", "0", "0.5")] == ["paper", 0.0, 0.5]
    for value in ("1", "-0.1", "much"):
        with pytest.raises(click.BadParameter):
            kind.convert(value, None, None)
