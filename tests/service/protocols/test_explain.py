"""Where the network looked, over HTTP: of a real service with its process that explains."""

import base64
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

from tests.browser import expect_label, opened
from tests.harness import RunningService, command_line, copy_of, descendants, golden_image, running_service
from tests.processes import python

PATIENCE = {"workers": 1, "deadline_s": 600}  # it explains in time that others leave, and tests leave little


@pytest.fixture(scope="module")
def service(digits_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    exports = copy_of(digits_exports, tmp_path_factory.mktemp("explain") / "exports")
    with running_service(exports, tmp_path_factory.mktemp("service"), **PATIENCE) as running:
        yield running
        assert running.stop() == 0, running.log()


def ask(
    service: RunningService, data: bytes, path: str = "/models/digits/explain", **headers: str
) -> requests.Response:
    return requests.post(service.url + path, data=data, timeout=620, headers=headers)


def explainers(service: RunningService) -> list[int]:
    return [pid for pid in descendants(service.process.pid) if "service.explain" in command_line(pid)]


def test_the_answer_says_where_the_network_looked_for_the_class_that_it_names(service, digits_exports):
    image = golden_image(digits_exports, "3")
    answer = ask(service, image)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    named = requests.post(f"{service.url}/models/digits/classify", data=image, timeout=30).json()["predictions"][0]
    assert (said["model"], said["version"], said["label"]) == ("digits", 1, named["label"])
    assert said["probability"] == pytest.approx(named["probability"], abs=0.1)
    assert (said["method"], said["passes"]) == ("random_masks", 801)
    values = np.array(said["map"])
    assert values.shape == (14, 14)
    middle, border = values[4:10, 4:10], np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    assert np.abs(middle).mean() > 2 * np.abs(border).mean()  # where the digit is


def test_another_class_can_be_asked_for_in_any_version(service, digits_exports):
    image = golden_image(digits_exports, "3")
    said = ask(service, image, "/models/digits/versions/1/explain?class=8").json()
    assert (said["label"], said["index"]) == ("8", 8)
    assert said["map"] != ask(service, image).json()["map"]


def test_whoever_accepts_pictures_alone_gets_one(service, digits_exports):
    answer = ask(service, golden_image(digits_exports, "3"), Accept="image/png")
    assert answer.headers["Content-Type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.size, picture.mode) == ((256, 256), "RGB")
    pixels = np.asarray(picture, np.int16)
    assert (pixels[..., 0] > pixels[..., 2] + 60).any()  # the map is in colours, the digit was grey


def test_an_image_may_come_in_a_form_or_in_json(service, digits_exports):
    image = golden_image(digits_exports, "3")
    url = service.url + "/models/digits/explain"
    in_form = requests.post(url, files={"file": ("three.png", image)}, timeout=620).json()
    assert in_form["map"] == ask(service, image).json()["map"]
    two = requests.post(url, files=[("file", ("a", image)), ("file", ("b", image))], timeout=620)
    assert (two.status_code, "One image" in two.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "data", "status", "message"),
    [
        ("/models/digits/explain?class=zebra", None, 404, "There is no class 'zebra'; there are 0, 1, 2"),
        ("/models/digits/explain?klass=3", None, 400, "this route knows class"),
        ("/models/digits/versions/7/explain", None, 404, "7"),
        ("/models/cats/explain", None, 404, "There is no model of this name"),
        ("/models/digits/explain", b"", 400, "image"),
        ("/models/digits/explain", b"no image", 400, "Unrecognized image format"),
    ],
)
def test_what_cannot_be_explained_is_said(service, digits_exports, path, data, status, message):
    answer = ask(service, golden_image(digits_exports, "3") if data is None else data, path)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


def test_a_process_that_dies_is_replaced_and_no_explanation_is_lost(service, digits_exports):
    image = golden_image(digits_exports, "3")
    assert ask(service, image).status_code == 200
    (killed,) = explainers(service)
    os.kill(killed, signal.SIGKILL)
    assert ask(service, image).status_code == 200
    assert "the process that explains has ended" in service.log()
    assert explainers(service) != [killed]


def test_nobody_waits_longer_than_the_time_limit_and_what_was_begun_is_finished(service, digits_exports):
    image = golden_image(digits_exports, "3")
    late = ask(service, image, **{"X-Request-Timeout-Ms": "1"})
    assert late.status_code in (422, 504), late.text
    assert ask(service, image).status_code == 200


def test_what_nobody_waits_for_any_more_keeps_nobody_else_from_asking(service, digits_exports):
    image, path = golden_image(digits_exports, "3"), "/models/digits/layers"
    assert ask(service, image, path).status_code == 200
    (explainer,) = explainers(service)
    os.kill(explainer, signal.SIGSTOP)
    try:
        late = [ask(service, image, path, **{"X-Request-Timeout-Ms": "2000"}) for _ in range(6)]  # four may wait
    finally:
        os.kill(explainer, signal.SIGCONT)
    assert [answer.status_code for answer in late] == [504] * 6
    assert ask(service, image, path).status_code == 200


def test_it_explains_in_idle_time_alone(service, digits_exports):
    assert ask(service, golden_image(digits_exports, "3")).status_code == 200
    assert [os.sched_getscheduler(pid) for pid in explainers(service)] == [os.SCHED_IDLE]


def test_a_version_that_keeps_no_thumbnails_shows_no_training_images(service, digits_exports):
    answer = ask(service, golden_image(digits_exports, "3"), "/models/digits/similar")
    assert answer.status_code == 404
    assert "--thumbnails" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def showing(digits_training, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose version was trained with --thumbnails."""
    work = tmp_path_factory.mktemp("showing")
    flags = ["--model", "lenet5", "--name", "digits", "--epochs", "8", "--publish", "--int8", "off", "--thumbnails"]
    places = ["--exports", work / "exports", "--runs", work / "runs", "--cache", digits_training.cache]
    python("-m", "training", "fit", "--data", "digits", *flags, *places)
    with running_service(work / "exports", work, **PATIENCE) as running:
        yield running


def test_a_version_with_thumbnails_shows_the_training_images_that_resemble_an_image(showing, digits_exports):
    labels = []
    for name in ("0", "3", "6"):
        said = ask(showing, golden_image(digits_exports, name), "/models/digits/versions/1/similar").json()
        similarities = [image["similarity"] for image in said["images"]]
        assert len(similarities) == 5
        assert similarities == sorted(similarities, reverse=True)
        assert 0.5 < similarities[0] <= 1
        with Image.open(io.BytesIO(base64.b64decode(said["images"][0]["jpeg"]))) as image:
            assert (image.format, max(image.size)) == ("JPEG", 32)
        labels += [image["label"] == name for image in said["images"]]
    assert np.mean(labels) > 0.8
    (version,) = requests.get(f"{showing.url}/models/digits", timeout=30).json()["versions"]
    assert version["shows_training_images"]


def test_the_page_shows_similar_training_images_beside_where_the_network_looked(browser, showing, digits_exports):
    context = browser.new_context(base_url=showing.url)
    page = opened(context.new_page())
    image = {"name": "a.png", "mimeType": "image/png", "buffer": golden_image(digits_exports, "3")}
    page.set_input_files("#file", image)
    expect_label(page, "3")
    page.get_by_role("button", name="Show", exact=True).click()
    similar = page.get_by_role("list", name="Similar training images").get_by_role("listitem")
    expect(similar).to_have_count(5, timeout=300_000)
    expect(similar.first).to_have_text("3")
    context.close()


def test_the_stages_of_the_network_are_shown_live_on_the_page_beside_its_table(browser, showing, digits_exports):
    context = browser.new_context(base_url=showing.url)
    page = opened(context.new_page())

    def choose(name: str) -> None:
        image = {"name": "a.png", "mimeType": "image/png", "buffer": golden_image(digits_exports, name)}
        page.set_input_files("#file", image)
        expect_label(page, name)

    choose("3")
    page.get_by_text("Inside the network").click()
    stages = page.get_by_role("list", name="Stages of the network").get_by_role("listitem")
    expect(stages.first).to_contain_text("c1: 6 maps of 28 × 28", timeout=300_000)
    expect(stages).to_have_count(4)
    expect(page.get_by_role("row", name="c3 Conv2D 10 × 10 × 16")).to_be_visible()
    maps = stages.first.get_by_role("img", name="Feature maps of c1")
    before = maps.get_attribute("src")
    choose("0")
    expect(maps).not_to_have_attribute("src", before, timeout=300_000)
    context.close()


def test_layers_of_a_version_that_has_no_table_are_not_found(service, digits_exports):
    image = golden_image(digits_exports, "3")
    assert ask(service, image, "/models/digits/versions/7/layers").status_code == 404
    for path in ("/models/digits/versions/7/layers", "/models/none/versions/1/layers"):
        assert requests.get(service.url + path, timeout=30).status_code == 404
    found = requests.get(f"{service.url}/models/digits/versions/1/layers", timeout=30).json()
    assert [layer["name"] for layer in found["layers"]][-1] == "logits"
