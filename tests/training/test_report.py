"""The page that says how good a model is."""

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np

from training.metrics import calibration_bins, measure
from training.predictions import Predictions
from training.report import MAX_CONFUSION, render

HISTORY = {name: [0.5, 0.25] for name in ("accuracy", "loss", "val_accuracy", "val_loss")}


def page(
    *names: str,
    title: str = "toy",
    history: dict[str, list[float]] = HISTORY,
    findings: list[tuple[str, list[str]]] | None = None,
    **facts: Any,
) -> str:
    probabilities = np.eye(len(names))[[0, 0, 1]] * 0.9 + 0.01
    table = Predictions(names, ["a.png", "b.png", "c.png"], np.array([0, 1, 1]), probabilities)
    return render(title, measure(table), calibration_bins(table), history, facts, findings or [])


def test_the_page_has_the_figures_the_classes_and_the_confusion() -> None:
    html = page("cat", "dog", temperature=1.25)
    for text in ("test accuracy", "0.6667", "cat", "dog", "temperature", "1.2500", "accuracy over 2 epochs", "<svg"):
        assert text in html


def test_the_page_needs_nothing_else() -> None:
    assert not re.search(r"(src|href)=|url\(|@import|<script", page("cat", "dog"))


def test_names_are_text_and_never_markup() -> None:
    html = page("<script>alert(1)</script>", '"><img src=x>', title="<b>toy</b>")
    tags: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.add(tag)  # type: ignore[method-assign]
    parser.feed(html)
    assert not tags & {"script", "img", "b"}
    assert "&lt;script&gt;" in html


def test_it_says_what_the_test_split_can_show_and_whether_confidence_can_be_believed() -> None:
    html = page("cat", "dog")
    assert "at least 25.3 points of accuracy" in html
    assert html.count("<circle") == 1
    assert "3 images: confidence" in html


def test_what_is_odd_about_the_data_is_on_the_page_to_the_last_file() -> None:
    html = page("cat", "dog", findings=[("7 files left out, unreadable", [f"cat/<{i}>\n.jpg: cut" for i in range(7)])])
    assert "7 files left out" in html
    assert all(f"cat/&lt;{i}&gt;\\n.jpg: cut" in html for i in range(7))
    assert "Nothing odd was found." in page("cat", "dog")


def test_a_matrix_that_is_no_picture_any_more_is_left_out() -> None:
    names = [f"class {i}" for i in range(MAX_CONFUSION + 1)]
    assert f"The confusion matrix of {MAX_CONFUSION + 1} classes is in metrics.json" in page(*names)


def test_a_run_of_one_epoch_and_a_constant_metric_can_be_drawn() -> None:
    assert "over 1 epochs" in page("cat", "dog", history={name: [0.5] for name in HISTORY})
