"""Two runs beside each other: which is better, whether that is more than chance, and what was done differently."""

import csv
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import UserError
from models.files.typed import read_json
from training.evaluate.significance import Paired
from training.report.page import STYLE, bar, shown, table
from training.report.pictures import printable
from training.report.svg import plot

LEVEL = 0.05  # of a p-value below which chance does not explain a difference
CURVES = {
    "val_accuracy": "accuracy on the validation images",
    "val_loss": "loss on the validation images",
    "loss": "loss in training",
    "learning_rate": "learning rate",
}
MOST_IMAGES = 200  # that are listed of those on which the runs differ


@dataclass(frozen=True, slots=True)
class Run:
    """
    Attributes:
        answers: {image: (its label, what the model said)} of the test.
    """

    name: str
    config: dict[str, Any]
    history: dict[str, list[float]]
    metrics: dict[str, Any]
    answers: dict[str, tuple[str, str]]


def read_run(folder: Path) -> Run:
    """
    Raises:
        UserError: it is no run that has ended.
    """
    try:
        with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
            answers = {row["image"]: (row["label"], row["predicted"]) for row in csv.DictReader(file)}
        config, history, metrics = (
            read_json(folder / f"{name}.json", dict[str, Any]) for name in ("config", "history", "metrics")
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder} is no run that has ended ({error}). Give the folders of two runs, such as runs/NAME-DATE-TIME."
        ) from None
    return Run(folder.resolve().name, config, history, metrics, answers)


def pairs(first: Run, second: Run) -> tuple[Paired, list[str]]:
    """Of the images that both were tested with; and those on which only one was right."""
    common = [image for image in first.answers if image in second.answers]
    right = [np.array([is_right(run, image) for image in common], bool) for run in (first, second)]
    return Paired.of(*right), [image for image, a, b in zip(common, *right, strict=True) if a != b]


def is_right(run: Run, image: str) -> bool:
    label, answer = run.answers[image]
    return label == answer


def in_words(first: Run, second: Run) -> list[str]:
    """Sentences, the most important first."""
    accuracies = [
        f"{run.name} is right on {run.metrics['accuracy']:.1%} of its {run.metrics['num_images']:,} test images."
        if run.metrics.get("num_images")
        else f"{run.name} has no test images."
        for run in (first, second)
    ]
    paired, _ = pairs(first, second)
    if not paired.num_images:
        return [*accuracies, "They were tested with different images, so that the two figures cannot be compared."]
    low, high = paired.interval()
    p_value = paired.p_value()
    chance = "more than chance explains" if p_value < LEVEL else "which chance can explain"
    return [
        *accuracies,
        f"{paired.num_images:,} images tested both: on {paired.only_champion} only the first was right, on "
        f"{paired.only_challenger} only the second. The second is {100 * paired.difference:+.1f} points better "
        f"({100 * low:+.1f} to {100 * high:+.1f}), {chance} (p = {p_value:.2g}).",
    ]


def page(first: Run, second: Run) -> str:
    """One page that needs nothing else."""
    runs = (first, second)
    title = f"{first.name} and {second.name}"
    words = "".join(f"<p>{escape(printable(sentence))}</p>" for sentence in in_words(first, second))
    plots = [
        plot(name, {run.name: run.history[metric] for run in runs if run.history.get(metric)})
        for metric, name in CURVES.items()
        if any(run.history.get(metric) for run in runs)
    ]
    _, images = pairs(first, second)
    rows = [[escape(printable(image)), *(escape(printable(run.answers[image][1])) for run in runs)] for image in images]
    differing = f"<h2>Images on which one is right</h2>{table(['image', *names(runs)], rows[:MOST_IMAGES], 'facts')}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{escape(title)}</h1>'
        f'<div class="verdict">{words}</div><h2>How training went</h2><div class="charts">{"".join(plots)}</div>'
        f"<h2>Recall of the classes</h2>{recalls(runs)}<h2>What was different</h2>{different(runs)}"
        f"{differing if rows else ''}</html>\n"
    )


def names(runs: tuple[Run, Run]) -> list[str]:
    return [escape(run.name) for run in runs]


def recalls(runs: tuple[Run, Run]) -> str:
    by_run = [run.metrics.get("per_class", {}) for run in runs]
    classes = dict.fromkeys(name for classes in by_run for name in classes)
    rows = [
        [
            escape(printable(name)),
            *(
                cell
                for known in by_run
                for cell in ((shown(known[name]["recall"]), bar(known[name], "recall")) if name in known else ("–", ""))
            ),
        ]
        for name in classes
    ]
    return table(["class", *(head for name in names(runs) for head in (name, ""))], rows)


def different(runs: tuple[Run, Run]) -> str:
    """Settings, data and machine that are not the same in both."""
    flat = [flattened(run.config) for run in runs]
    keys = dict.fromkeys(key for known in flat for key in known)
    rows = [
        [escape(printable(key)), *(escape(printable(str(known.get(key, "–")))) for known in flat)]
        for key in keys
        if flat[0].get(key) != flat[1].get(key)
    ]
    return table(["", *names(runs)], rows, "facts") if rows else "<p>Nothing that is recorded.</p>"


def flattened(config: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flattened(value, f"{before}{key} ") if isinstance(value, dict) else {f"{before}{key}": value}
    return found
