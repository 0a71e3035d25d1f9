"""A run's settings from flags and from the images there are."""

from pathlib import Path

import pytest

from tests.images import shades, write_folder
from training.data.dataset import find_images
from training.runs.plan import Plan, plan_of_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", {"dark": shades(30, 0, 100), "light": shades(30, 120, 255, seed=1)})


def plan(folder: Path, **table: object) -> Plan:
    return plan_of_table({"model": "resnet20", **table}, find_images(str(folder), folder.parent / "cache"), None)


def test_the_default_rate_is_that_of_the_batches_there_are_and_not_of_those_asked_for(folder: Path) -> None:
    """Sixteen images are one batch, however large the batches may be."""
    rates = [plan(folder, epochs=2000, batch_size=size).settings_for(16).learning_rate for size in (16, 64, 512)]
    assert rates == [0.025] * 3


def test_the_default_rate_of_a_short_run_is_lower(folder: Path) -> None:
    asked = plan(folder, epochs=4)
    assert asked.settings_for(640).learning_rate == pytest.approx(0.02)
    assert asked.settings_for(64_000).learning_rate == 0.1


def test_a_rate_that_was_given_stays(folder: Path) -> None:
    assert plan(folder, epochs=1, learning_rate=0.3).settings_for(16).learning_rate == 0.3
    assert plan(folder, epochs=1, recipe="fast-cifar").settings_for(16).learning_rate == 1.0
