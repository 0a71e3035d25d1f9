"""The page that says how a run goes and how good its model is."""

import re
import xml.dom.minidom
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluate.metrics import calibration_bins, measure
from training.evaluate.predictions import Predictions
from training.fit.state import TrainState
from training.report.page import MAX_CONFUSION, GrowingReport, Report, duration
from training.report.pictures import Picture
from training.report.svg import drawing, ticks_of

HISTORY = {
    name: [0.5, 0.25]
    for name in ("accuracy", "loss", "val_accuracy", "val_loss", "learning_rate", "images_per_s", "input_wait")
}
GREY = np.full((4, 4, 1), 128, np.uint8)


def report(*names: str, **known: Any) -> Report:
    probabilities = np.eye(len(names))[[0, 0, 1]] * 0.9 + 0.01
    table = Predictions(names, ["a.png", "b.png", "c.png"], np.array([0, 1, 1]), probabilities)
    finished = Report(
        "toy", {}, [], history=HISTORY, metrics=measure(table), bins=calibration_bins(table.probabilities, table.labels)
    )
    return replace(finished, **known)


def tags_of(html: str) -> set[str]:
    tags: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.add(tag)  # type: ignore[method-assign]
    parser.feed(html)
    return tags


def test_the_page_has_the_figures_the_classes_and_the_confusion() -> None:
    html = report("cat", "dog", facts={"seed": 3, "processor": "AMD"}).html()
    for text in ("test accuracy", "0.6667", "cat", "dog", "seed", "AMD", "accuracy over 2 epochs", "<svg"):
        assert text in html
    assert "learning rate" in html
    assert "waited for images 37.5 % of the time" in html


def test_the_page_says_what_the_split_can_show_and_what_the_temperature_was_fitted_on() -> None:
    plain = report("cat", "dog")
    assert "With a probability of 80%, this test split shows a difference" in plain.html()
    assert "temperature was fitted" not in plain.html()  # a run of an older version
    fitted = {"calibration": {"method": "resting training images", "num_images": 1000}}
    page = replace(plain, metrics={**plain.metrics, **fitted}).html()
    assert "The temperature was fitted on 1,000 training images left out of the last epochs." in page
    nothing = {"num_images": 0, "calibration": {"method": "none", "num_images": 0}}
    assert "The confidence is not calibrated" in replace(plain, metrics=nothing).html()


def test_the_page_says_whether_fine_tuning_was_kept() -> None:
    plain = report("cat", "dog")
    for kept, says in ((True, "temperature."), (False, "temperature; it is undone")):
        tuned = {"kept": kept, "loss_before": 0.25, "loss_after": 0.5, "num_images": 1000}
        page = replace(plain, metrics={**plain.metrics, "fine_tuning": tuned}).html()
        assert f"loss on 1,000 validation images from 0.250 to 0.500, each with its best {says}" in page


def test_the_page_needs_nothing_else() -> None:
    html = report("cat", "dog", mistakes=[Picture(GREY, "cat")], filters=np.repeat(GREY, 3, axis=2)).html()
    assert set(re.findall(r"(?:src|href)=\"([^:]*:[^;]*);", html)) == {"data:image/png"}
    assert not re.search(r"href=\"[^#]|url\(|@import|<script|refresh", html)


def test_names_are_text_and_never_markup() -> None:
    wicked = '"><img src=x><script>alert(1)</script>'
    html = report(wicked, "<b>", title="<i>toy</i>", facts={wicked: wicked}, findings=[(wicked, [wicked])]).html()
    assert not tags_of(html) & {"script", "img", "b", "i"}
    pictured = report("cat", "dog", mistakes=[Picture(GREY, wicked)]).html()
    assert "script" not in tags_of(pictured)
    assert pictured.count("<img") == 1


def test_it_says_what_the_test_split_can_show_and_whether_confidence_can_be_believed() -> None:
    html = report("cat", "dog").html()
    assert "two models of 36.2 points of accuracy or more" in html
    assert re.findall(r"<circle[^>]*class=\"c0\"><title>3 images", html)
    assert "3 images: confidence" in html


def test_what_is_odd_about_the_data_is_on_the_page_to_the_last_file() -> None:
    unreadable = ("7 files left out, unreadable", [f"cat/<{i}>\n.jpg: cut" for i in range(7)])
    html = report("cat", "dog", findings=[unreadable]).html()
    assert "7 files left out" in html
    assert all(f"cat/&lt;{i}&gt;\\n.jpg: cut" in html for i in range(7))
    assert "Nothing odd was found." in report("cat", "dog").html()


def test_a_number_of_the_matrix_leads_to_its_images() -> None:
    mistakes = [Picture(GREY, f"cat/{i}.png (90%)", ("cat", "größter Hund")) for i in range(2)]
    html = report("cat", "größter Hund", mistakes=[*mistakes, Picture(GREY, "x", ("größter Hund", "cat"))]).html()
    assert html.index("cat taken for größter Hund") < html.index("größter Hund taken for cat")  # it has more
    (target,) = set(re.findall(r'<a href="#([^"]+)">', html))  # of the two pairs, the matrix has one
    assert html.count(f'id="{target}"') == 1


def test_axes_have_ticks_and_points_their_values() -> None:
    html = report("cat", "dog").html()
    assert "<title>validation, epoch 2: 0.25</title>" in html
    assert 'text-anchor="middle">epoch</text>' in html
    assert ticks_of(0.13, 0.97) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks_of(3, 3) == [1, 2, 3, 4, 5]
    assert ticks_of(0, 25_000) == [0, 5000, 10_000, 15_000, 20_000, 25_000]


def test_values_that_are_no_numbers_are_left_out_of_curves() -> None:
    history = {name: [float("nan"), float("inf"), 0.5] for name in HISTORY}
    assert "nan" not in report("cat", "dog", history=history).html().replace("nan %", "")


def test_settings_are_folded_away_behind_the_verdict() -> None:
    html = report("cat", "dog", facts={"seed": 3}).html()
    assert html.index("It is right on 67%") < html.index("Figures") < html.index("<details><summary>Settings")


def test_a_matrix_that_is_no_picture_any_more_is_left_out() -> None:
    names = [f"class {i}" for i in range(MAX_CONFUSION + 1)]
    assert f"The confusion matrix of {MAX_CONFUSION + 1} classes is in metrics.json" in report(*names).html()


def test_a_run_of_one_epoch_and_a_constant_metric_can_be_drawn() -> None:
    html = report("cat", "dog", history={name: [0.5] for name in HISTORY}).html()
    assert "over 1 epochs" in html
    assert "nan" not in html


def test_where_nothing_was_held_out_it_says_so() -> None:
    history = {name: values for name, values in HISTORY.items() if not name.startswith("val_")}
    html = report("cat", "dog", metrics={"num_images": 0, "temperature": 1.0}, history=history).html()
    assert "Nothing was held out to test" in html
    assert "validation" not in html


def test_label_errors_are_there_where_they_were_asked_for() -> None:
    assert "Likely label errors" not in report("cat", "dog").html()
    assert "None was found." in report("cat", "dog", label_errors=[]).html()
    assert "cat/7.png" in report("cat", "dog", label_errors=[Picture(GREY, "cat/7.png")]).html()


def test_it_grows_while_the_run_goes(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    growing = GrowingReport(page, Report("toy", {"seed": 3}, [("odd", [])]))
    growing.begin(TrainState(), 9, 4)
    assert "0 of 9 epochs are done" in page.read_text()
    growing.epoch(TrainState(epoch=2, history=HISTORY))
    for text in ("2 of 9 epochs are done", 'http-equiv="refresh"', "accuracy over 2 epochs", "seed", "odd"):
        assert text in page.read_text()


def test_the_time_that_is_left_is_told_in_words() -> None:
    said = ["1 seconds", "59 seconds", "10 minutes", "2.5 hours"]
    assert [duration(seconds) for seconds in (0.2, 59, 600, 9000)] == said


def test_a_plot_as_a_file_has_its_title_and_tells_its_curves_apart() -> None:
    file = drawing("loss of <b> & more", {"night": [1, 2], "day": [2, 3]}, "slice")
    texts = [text.firstChild.data for text in xml.dom.minidom.parseString(file).getElementsByTagName("text")]
    assert {"loss of <b> & more", "night", "day", "slice"} <= set(texts)
    assert set(re.findall(r'<polyline [^>]*class="(\w+)"', file)) == {"c0", "c1"}
    assert re.search(r"polyline\.c1\{stroke:", file)
