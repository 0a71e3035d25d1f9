"""How good a model is, on one page that needs nothing else: figures, mistakes, and how training went."""

from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .2rem .7rem; text-align: right }
th { font-weight: 600 } td:first-child, th:first-child { text-align: left } tr { border-bottom: 1px solid #ddd }
.confusion td { text-align: center; border: 1px solid #fff } svg { width: 100%; height: auto } figure { margin: 0 }
"""
MAX_CONFUSION = 40  # classes; a larger matrix is no picture any more
COLORS = {"train": "#9aa5b1", "val": "#0b6bcb"}


def render(
    title: str,
    metrics: dict[str, Any],
    bins: list[tuple[float, float, int]],
    history: dict[str, list[float]],
    facts: dict[str, Any],
    findings: list[tuple[str, list[str]]],
) -> str:
    """One HTML page.

    Args:
        metrics: as `training.metrics.measure` gives them.
        bins: as `training.metrics.calibration_bins` gives them.
        history: {metric: one value per epoch}, as Keras gives it.
        facts: name and value of whatever else should stand on the page.
        findings: what is odd about the data, a sentence each, and all examples of it.
    """
    sections = [
        f"<h1>{escape(title)}</h1>",
        table(["", "value"], [[escape(name), escape(shown(value))] for name, value in headline(metrics, facts)]),
        f"<p>This test split can show a difference between two models of at least "
        f"{100 * metrics['resolvable_difference']:.1f} points of accuracy. Intervals are of 95 %.</p>",
        "<h2>How training went</h2>",
        plot("accuracy", history),
        plot("loss", history),
        "<h2>Classes</h2>",
        per_class(metrics["per_class"]),
        confusion(metrics["confusion"], list(metrics["per_class"])),
        reliability(bins),
        "<h2>Data</h2>",
        *map(finding, findings),
        "" if findings else "<p>Nothing odd was found.</p>",
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>{"".join(sections)}</html>\n'
    )


def headline(metrics: dict[str, Any], facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """The figure to go by first."""
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
    return [(f"test {names[name]}", metrics[name]) for name in order if name in metrics] + list(facts.items())


def shown(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(shown, value))
    return f"{value:.4f}" if isinstance(value, float) else "–" if value is None else str(value)


def table(head: list[str], rows: list[list[str]], kind: str = "") -> str:
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{kind}"><tr>{heads}</tr>{body}</table>'


def finding(found: tuple[str, list[str]]) -> str:
    """A sentence, and behind it what it is about."""
    sentence, examples = found
    items = "".join(f"<li>{escape(printable(example))}</li>" for example in examples)
    return f"<details><summary>{escape(printable(sentence))}</summary><ul>{items}</ul></details>"


def printable(text: str) -> str:
    """Line breaks and undecodable bytes of file names as `\\n` and `\\udcff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def per_class(classes: dict[str, dict[str, Any]]) -> str:
    columns = ("recall", "recall_interval", "precision", "precision_interval", "f1", "num_images")
    rows = [[escape(name), *(shown(row[column]) for column in columns)] for name, row in classes.items()]
    return table(["class", "recall", "from and to", "precision", "from and to", "F1", "images"], rows)


def reliability(bins: list[tuple[float, float, int]]) -> str:
    """How often answers of a confidence are right: on the diagonal where confidence can be believed."""
    side, total = 300, sum(count for _, _, count in bins)
    dots = "".join(
        f'<circle cx="{20 + confidence * side:.1f}" cy="{20 + (1 - accuracy) * side:.1f}" '
        f'r="{3 + 12 * (count / total) ** 0.5:.1f}" fill="{COLORS["val"]}" fill-opacity=".6">'
        f"<title>{count} images: confidence {confidence:.3f}, accuracy {accuracy:.3f}</title></circle>"
        for confidence, accuracy, count in bins
    )
    return (
        "<h2>Can its confidence be believed?</h2><p>To the right the probability of the answer, upwards how often it "
        "is right; a dot is as large as it has images. Below the line the model is too sure of itself.</p>"
        f'<svg viewBox="0 0 340 340" style="max-width:22rem" role="img"><rect x="20" y="20" width="{side}" '
        f'height="{side}" fill="none" stroke="#ddd"/><line x1="20" y1="{20 + side}" x2="{20 + side}" y2="20" '
        f'stroke="{COLORS["train"]}"/>{dots}</svg>'
    )


def confusion(matrix: list[list[int]], names: list[str]) -> str:
    if len(names) > MAX_CONFUSION:
        return f"<p>The confusion matrix of {len(names)} classes is in metrics.json.</p>"
    rows = "".join(
        f"<tr><th>{escape(name)}</th>" + "".join(shaded(n, sum(row), i == j) for j, n in enumerate(row)) + "</tr>"
        for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    )
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    caption = "<h2>What was taken for what</h2><p>A row for the true class, a column for the answer.</p>"
    return f'{caption}<table class="confusion"><tr><th></th>{heads}</tr>{rows}</table>'


def shaded(count: int, total: int, correct: bool) -> str:
    hue = "11,107,203" if correct else "200,60,30"
    return f'<td style="background:rgba({hue},{count / total if total else 0:.2f})">{count or ""}</td>'


def plot(metric: str, history: dict[str, list[float]]) -> str:
    """A metric over the epochs, for training and validation, as SVG."""
    curves = {"train": history[metric], "val": history[f"val_{metric}"]}
    values = [value for curve in curves.values() for value in curve]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    lines = "".join(polyline(curve, low, span, COLORS[side]) for side, curve in curves.items())
    ends = f'<text x="0" y="12">{high:.3f}</text><text x="0" y="198">{low:.3f}</text>'
    legend = "".join(
        f'<text x="{60 + 70 * i}" y="12" fill="{color}">{side}</text>' for i, (side, color) in enumerate(COLORS.items())
    )
    return (
        f"<figure><figcaption>{metric} over {len(curves['train'])} epochs</figcaption>"
        f'<svg viewBox="0 0 700 200" font-size="12" role="img">{ends}{legend}{lines}</svg></figure>'
    )


def polyline(curve: list[float], low: float, span: float, color: str) -> str:
    step = 640 / max(1, len(curve) - 1)
    points = " ".join(f"{55 + i * step:.1f},{195 - (value - low) / span * 175:.1f}" for i, value in enumerate(curve))
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>'
