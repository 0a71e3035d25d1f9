"""How a run goes and how good its model is, on one page that needs nothing else, and that grows while the run goes."""

import time
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from models.files.durable import write_durably
from training.evaluate.significance import DISAGREEMENT, POWER
from training.fit.callbacks import Callback
from training.fit.state import TrainState
from training.report.pictures import Picture, anchor, confused_pictures, data_uri, gallery, printable
from training.report.svg import interval, plot, reliability
from training.report.verdict import judge

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1a1a1a, #e4e4e4); --paper: light-dark(#fff, #16181b);
  --line: light-dark(#ddd, #3a3f45); --c0: light-dark(#0b6bcb, #5aa9ff); --c1: light-dark(#9aa5b1, #7b8794) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); overflow-wrap: anywhere }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .7rem; text-align: right; overflow-wrap: normal } tr { border-bottom: 1px solid var(--line) }
th { font-weight: 600 } td:first-child, th:first-child { text-align: left }
.confusion td { text-align: center; border: 1px solid var(--paper) } .facts td { text-align: left }
.confusion a { color: inherit } .verdict { font-size: 1.1rem } .verdict p { margin: .3rem 0 }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem 2rem }
figure { margin: 0 0 1rem } svg { width: 100%; height: auto } svg text { fill: var(--ink) }
svg polyline { fill: none; stroke-width: 2 } polyline.c0 { stroke: var(--c0) } polyline.c1 { stroke: var(--c1) }
svg text.c0, circle.c0, rect.c0 { fill: var(--c0) } circle.c1 { fill: var(--c1) }
svg text.c1 { fill: light-dark(#5f6b77, #9aa5b1) }
circle { fill-opacity: .6 } circle.hidden { fill-opacity: 0 } circle.hidden:hover { fill-opacity: .6 }
.grid line { stroke: var(--line) } .track { fill: var(--line) } .bar { width: 8rem; vertical-align: middle }
.bar line { stroke: var(--ink); stroke-width: 2 } summary { cursor: pointer }
svg.square { max-width: 24rem } .pictures { display: flex; flex-wrap: wrap; gap: 1rem } .pictures figure { width: 8rem }
.pictures img { width: 100%; image-rendering: pixelated; background: var(--line) } figcaption { font-size: .85rem }
.pictures .mistake { width: 17rem } .pair { display: flex; gap: .5rem } .pair img { width: 8.25rem }
.similar { display: grid; grid-template-columns: repeat(5, 1fr); gap: .25rem; font-size: .75rem }
.similar p { grid-column: 1 / -1; margin: .25rem 0 0 } .similar span { display: block }
.filters { max-width: 100%; image-rendering: pixelated }
"""
MAX_CONFUSION = 40  # classes; a larger matrix is no picture any more
STRONGEST = 0.45  # opacity of a cell's colour; figures in it have to be readable, light or dark
RENEW_S = 15  # while training goes on


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of a run; what is not yet known is empty.

    Attributes:
        facts: configuration, data and machine, by their names.
        findings: what is odd about the data, a sentence each, and all examples of it.
        history: {metric: one value per epoch}.
        epochs: that are planned.
        seconds_left: for the epochs that are left, as far as that can be told.
        metrics: as `training.evaluate.metrics.measure` gives them.
        bins: as `training.evaluate.metrics.calibration_bins` gives them.
        mistakes: the most confident first.
        filters: the first layer's, as one uint8 picture (H, W, 3).
        label_errors: the likeliest first; None where nobody asked.
    """

    title: str
    facts: dict[str, Any]
    findings: list[tuple[str, list[str]]]
    epochs: int = 0
    seconds_left: float | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    bins: list[tuple[float, float, int]] = field(default_factory=list)
    mistakes: list[Picture] = field(default_factory=list)
    filters: np.ndarray | None = None
    label_errors: list[Picture] | None = None

    def without_training_images(self) -> "Report":
        """For a bundle, whose report anybody may see who may ask the model."""
        return replace(self, mistakes=[replace(picture, similar=()) for picture in self.mistakes])

    def html(self) -> str:
        """One page; before there are metrics it renews itself in a browser."""
        renewing = "" if self.metrics else f'<meta http-equiv="refresh" content="{RENEW_S}">'
        sections = (results(self), training(self), details(self), pictures(self), data(self))
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(self.title)}</title>{renewing}'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
            f"<h1>{escape(self.title)}</h1>{''.join(sections)}</html>\n"
        )


class GrowingReport(Callback):
    """Writes the page after every epoch."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path, self._report = path, report

    def begin(self, state: TrainState, epochs: int, steps_per_epoch: int) -> None:
        self._report = replace(self._report, epochs=epochs)
        self._began, self._done_before = time.monotonic(), len(state.history.get("loss", []))
        self.epoch(state)

    def epoch(self, state: TrainState) -> None:
        done = len(state.history.get("loss", []))
        here, left = done - self._done_before, max(0, self._report.epochs - done)
        seconds_left = (time.monotonic() - self._began) / here * left if here else None
        write_durably(self._path, replace(self._report, history=state.history, seconds_left=seconds_left).html())


def results(report: Report) -> str:
    """The figure to go by first."""
    done, metrics = len(report.history.get("loss", [])), report.metrics
    if not metrics:
        left = "" if report.seconds_left is None else f" About {duration(report.seconds_left)} are left, or less."
        return f"<p>Training: {done} of {report.epochs} epochs are done.{left} This page renews itself.</p>"
    about = f"{calibrated_on(metrics)} {fine_tuned(metrics)}"
    if not metrics["num_images"]:
        return f"<p>Nothing was held out to test, and nothing is measured. {about}</p>"
    names = {
        "accuracy": "accuracy",
        "accuracy_interval": "accuracy, from and to",
        "balanced_accuracy": "balanced accuracy",
        "top_5_accuracy": "top-5 accuracy",
        "negative_log_likelihood": "negative log likelihood",
        "uncalibrated_error": "expected calibration error before calibration",
        "expected_calibration_error": "expected calibration error",
        "temperature": "temperature",
        "num_images": "images",
    }
    order = sorted(names, key=lambda name: name != metrics["headline"])
    rows = [[f"test {names[name]}", shown(metrics[name])] for name in order if name in metrics]
    return (
        f"{in_words(report)}<h2>Figures</h2>{table(['', 'value'], rows)}<p>With a probability of {POWER:.0%}, this "
        f"test split shows a difference between two models of {100 * metrics['resolvable_difference']:.1f} points of "
        f"accuracy or more, if they disagree on {DISAGREEMENT:.0%} of the images. {about} Intervals are of 95 %.</p>"
    )


def in_words(report: Report) -> str:
    verdict = judge(report.metrics, report.history, len(report.label_errors or []))
    found = "".join(f"<p>{escape(printable(sentence))}</p>" for sentence in verdict.found)
    to_do = "".join(f"<li>{escape(printable(sentence))}</li>" for sentence in verdict.to_do)
    next_steps = f"<h2>What to do next</h2><ul>{to_do}</ul>" if to_do else ""
    return f'<div class="verdict">{found}</div>{next_steps}'


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def calibrated_on(metrics: dict[str, Any]) -> str:
    """A sentence about the temperature; reports of runs before it was recorded have none."""
    fitted = metrics.get("calibration")
    if fitted is None:
        return ""
    if fitted["method"] == "none":
        return "The confidence is not calibrated, since there were too few images for it."
    images = {
        "cross-validation": "training images by cross-validation",
        "validation": "validation images",
        "resting training images": "training images left out of the last epochs",
    }
    return f"The temperature was fitted on {fitted['num_images']:,} {images[fitted['method']]}."


def fine_tuned(metrics: dict[str, Any]) -> str:
    """A sentence about what training the last stages did to the validation loss, where it was done."""
    if "fine_tuning" not in metrics:
        return ""
    done = metrics["fine_tuning"]
    kept = "" if done["kept"] else "; it is undone, and the weights from before it are kept"
    return (
        f"Fine-tuning changed the mean loss on {done['num_images']:,} validation images from {done['loss_before']:.3f} "
        f"to {done['loss_after']:.3f}, each with its best temperature{kept}."
    )


def training(report: Report) -> str:
    history = report.history
    if "learning_rate" not in history:  # no steps were taken
        return ""
    epochs = len(history["loss"])
    plots = [plot(f"{name} over {epochs} epochs", curves_of(history, name)) for name in ("accuracy", "loss")]
    plots.append(plot("learning rate", {"learning rate": history["learning_rate"]}))
    plots.append(plot("images/s", {"images/s": history["images_per_s"]}))
    charts = f'<div class="charts">{"".join(plots)}</div>'
    wait = f"<p>The network waited for images {100 * np.mean(history['input_wait']):.1f} % of the time.</p>"
    return f"<h2>How training went</h2>{charts}{wait}"


def curves_of(history: dict[str, list[float]], metric: str) -> dict[str, list[float]]:
    curves = {"training": history[metric], "validation": history.get(f"val_{metric}", [])}
    return {name: curve for name, curve in curves.items() if curve}


def details(report: Report) -> str:
    if "per_class" not in report.metrics:
        return ""
    classes = report.metrics["per_class"]
    return (
        f"<h2>Classes</h2>{per_class(classes)}{confusion(report, list(classes))}"
        "<h2>Calibration</h2><p>How often answers of a confidence are right; each dot has its number of images. Below "
        "the diagonal the model is overconfident.</p>"
        f"{reliability(report.bins)}"
    )


def pictures(report: Report) -> str:
    sections = []
    if report.mistakes:
        sections.append(confused_pictures(report.mistakes))
    if report.label_errors is not None:
        what = "The likeliest errors first, each judged by a network that had not seen the image."
        sections.append(
            gallery("Likely label errors", report.label_errors, what if report.label_errors else "None was found.")
        )
    if report.filters is not None:
        source = data_uri(report.filters, report.filters.shape[1], is_drawn=True)
        image = f'<img class="filters" alt="filters" src="{source}">'
        sections.append(f"<h2>What the first layer looks for</h2>{image}")
    return "".join(sections)


def data(report: Report) -> str:
    found = "".join(map(finding, report.findings)) or "<p>Nothing odd was found.</p>"
    rows = [[escape(name), escape(printable(shown(value)))] for name, value in report.facts.items()]
    made = f"<details><summary>Settings, data and machine</summary>{table(['', ''], rows, 'facts')}</details>"
    return f"<h2>Data</h2>{found}<h2>How it was made</h2>{made}"


def shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(shown, value)) or "–"
    return f"{value:.4f}" if isinstance(value, float) else "–" if value is None else str(value)


def table(head: list[str], rows: list[list[str]], kind: str = "") -> str:
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><tr>{heads}</tr>{body}</table></div>'


def finding(found: tuple[str, list[str]]) -> str:
    """A sentence, and behind it what it is about."""
    sentence, examples = found
    items = "".join(f"<li>{escape(printable(example))}</li>" for example in examples)
    return f"<details><summary>{escape(printable(sentence))}</summary><ul>{items}</ul></details>"


def per_class(classes: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            escape(name),
            *(cell for measure in ("recall", "precision") for cell in (shown(row[measure]), bar(row, measure))),
            *(shown(row[measure]) for measure in ("f1", "num_images")),
        ]
        for name, row in classes.items()
    ]
    return table(["class", "recall", "", "precision", "", "F1", "images"], rows)


def bar(row: dict[str, Any], measure: str) -> str:
    return "" if row[measure] is None else interval(row[measure], *row[f"{measure}_interval"])


def confusion(report: Report, names: list[str]) -> str:
    matrix = report.metrics["confusion"]
    if len(names) > MAX_CONFUSION:
        return f"<p>The confusion matrix of {len(names)} classes is in metrics.json.</p>"
    pictured = {picture.classes for picture in report.mistakes}

    def cell(i: int, j: int, count: int, total: int) -> str:
        pair = names[i], names[j]
        return shaded(count, total, i == j, anchor(*pair) if count and pair in pictured else "")

    rows = "".join(
        f"<tr><th>{escape(name)}</th>" + "".join(cell(i, j, n, sum(row)) for j, n in enumerate(row)) + "</tr>"
        for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    )
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    caption = (
        "<h2>Confusion matrix</h2><p>Each row is a true class, each column a predicted class. A number that is "
        "underlined leads to its images.</p>"
    )
    return f'{caption}<div class="wide"><table class="confusion"><tr><th></th>{heads}</tr>{rows}</table></div>'


def shaded(count: int, total: int, correct: bool, leads_to: str = "") -> str:
    text = f'<a href="#{leads_to}">{count}</a>' if leads_to else str(count or "")
    hue = "11,107,203" if correct else "200,60,30"
    return f'<td style="background:rgba({hue},{STRONGEST * count / total if total else 0:.2f})">{text}</td>'
