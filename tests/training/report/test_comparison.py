"""Two runs beside each other."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from models.errors import UserError
from tests.training.report.test_page import tags_of
from training.cli.app import main
from training.report.comparison import in_words, page, read_run

HISTORY = {name: [0.5, 0.25] for name in ("val_accuracy", "val_loss", "loss", "learning_rate")}


def write_run(folder: Path, wrong: set[int], *, count: int = 60, start: int = 0, **settings: Any) -> Path:
    """A run that was tested with images of cats, some of which it took for dogs."""
    folder.mkdir()
    rows = [(f"{start + i}.png", "cat", "dog" if i in wrong else "cat") for i in range(count)]
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label", "predicted"), *rows])
    recall = 1 - len(wrong) / count
    per_class = {"cat": {"recall": recall, "recall_interval": [recall - 0.1, min(1, recall + 0.1)]}}
    known = {
        "config": {"model": "pets", "settings": {"epochs": 3, **settings}},
        "history": HISTORY,
        "metrics": {"accuracy": recall, "num_images": count, "per_class": per_class},
    }
    for name, value in known.items():
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_a_difference_that_chance_does_not_explain_is_said_to_be_one(tmp_path: Path) -> None:
    worse = read_run(write_run(tmp_path / "worse", set(range(20))))
    better = read_run(write_run(tmp_path / "better", {0, 1}))
    said = in_words(worse, better)
    assert said[0] == "worse is right on 66.7% of its 60 test images."
    assert "on 0 only the first was right, on 18 only the second" in said[2]
    assert "The second is +30.0 points better" in said[2]
    assert "more than chance explains" in said[2]


def test_a_difference_of_two_images_is_chance(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, wrong)) for name, wrong in (("a", {0, 1}), ("b", {0}))]
    assert "which chance can explain (p = 1)" in in_words(*runs)[2]


def test_runs_that_were_tested_with_different_images_are_not_compared(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, {0}, start=start)) for name, start in (("a", 0), ("b", 1000))]
    assert in_words(*runs)[2].startswith("They were tested with different images")


def test_the_page_has_curves_recalls_settings_and_the_images_on_which_they_differ(tmp_path: Path) -> None:
    first = read_run(write_run(tmp_path / "first", {3}, learning_rate=0.1))
    second = read_run(write_run(tmp_path / "<b>second", {4}, learning_rate=0.01))
    html = page(first, second)
    assert html.count("<polyline") == 2 * 4
    assert re.findall(r"<td>([34]\.png)</td><td>(\w+)</td><td>(\w+)</td>", html) == [
        ("3.png", "dog", "cat"),
        ("4.png", "cat", "dog"),
    ]
    assert "<td>settings learning_rate</td><td>0.1</td><td>0.01</td>" in html
    assert "epochs</td>" not in html  # it is the same in both
    assert "b" not in tags_of(html)
    assert not re.search(r"href=\"[^#]|src=|url\(|<script", html)


def test_the_command_writes_the_page_and_says_what_is_on_it(tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / name, wrong)) for name, wrong in (("a", {0}), ("b", set()))]
    output = tmp_path / "compared.html"
    done = CliRunner().invoke(main, ["compare", *runs, "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert "60 images tested both" in done.output
    assert output.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run that has ended"):
        read_run(tmp_path)
