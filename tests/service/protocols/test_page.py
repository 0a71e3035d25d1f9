"""The page at /, in a real Chromium, against the real service with a really trained model."""

import base64
import io
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect

from models.bundle.preprocessing import InputSpec, decode_image
from models.store.publish import publish
from tests.browser import answer, expect_label, opened
from tests.harness import RunningService, golden_image, running_service, wait_until
from tests.images import encode, encode_turned, noise, smooth
from tests.imported import coloured, imported_bundle, write_colours

Point = tuple[float, float]
NAMES = [str(digit) for digit in range(10)]
DRAWING = {"grid": 32, "block": 4, "height": 32, "width": 20, "keep_aspect": False, "centre": "box"}


def arc(x: float, y: float, width: float, height: float, start: float, end: float) -> list[Point]:
    """Points of an ellipse around (x, y), from one angle to another: 0 is right, 90 below."""
    angles = [math.radians(start + (end - start) * i / 16) for i in range(17)]
    return [(x + width / 2 * math.cos(angle), y + height / 2 * math.sin(angle)) for angle in angles]


# Strokes in a box of 100 x 100. The 43 writers of the data set crossed their sevens, so here is one of them.
HANDWRITING: dict[str, list[list[Point]]] = {
    "0": [arc(50, 50, 76, 100, -70, -430)],
    "1": [[(25, 30), (55, 2), (52, 50), (50, 100)]],
    "2": [[*arc(48, 27, 66, 54, -160, 30), (55, 68), (14, 98), (50, 96), (88, 99)]],
    "3": [[*arc(42, 24, 62, 46, -150, 85), *arc(44, 73, 74, 54, -80, 150)]],
    "4": [[(52, 0), (36, 26), (10, 62), (50, 63), (90, 60)], [(66, 34), (63, 70), (62, 100)]],
    "5": [[(78, 2), (28, 0), (22, 42), *arc(44, 69, 70, 60, -100, 140)]],
    "6": [[(68, 0), (45, 18), (24, 48), *arc(48, 72, 56, 56, -170, -520)]],
    "7": [[(14, 6), (48, 6), (86, 0), (56, 50), (30, 100)], [(22, 54), (80, 50)]],
    "8": [[*arc(50, 25, 50, 50, 60, -240), *arc(50, 74, 62, 52, -120, 240)]],
    "9": [[*arc(46, 28, 56, 56, -20, -350), (74, 40), (72, 68), (64, 100)]],
}


def draw(page: Page, strokes: list[list[Point]], *, size: float = 0.7, middle: Point = (0.5, 0.5)) -> None:
    """With the mouse; `size` and `middle` are shares of the canvas."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    side = box["width"]
    for stroke in strokes:
        points = [
            (
                box["x"] + side * (middle[0] + 0.7 * size * (x / 100 - 0.5)),
                box["y"] + side * (middle[1] + size * (y / 100 - 0.5)),
            )
            for x, y in stroke
        ]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def seen_pixels(page: Page) -> np.ndarray:
    """What the network saw: grey levels (8, 8)."""
    url = page.locator("#seen").evaluate("canvas => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("L"), dtype=int)


def list_versions(page: Page, *versions: dict) -> None:
    """From now on the service lists these versions, the last one live; what is asked of them is not changed."""
    common = {
        "state": "available",
        "class_names": NAMES,
        "drawing": DRAWING,
        "architecture": "lenet5",
        "accuracy": 0.98,
    }
    listed = [{**common, "live": version is versions[-1], **version} for version in versions]
    model = {"name": "digits", "live": versions[-1]["version"], "versions": listed}
    page.unroute("**/models")
    page.route("**/models", lambda route: route.fulfill(json={"default": "digits", "models": [model]}))


def test_ten_drawn_digits_are_read_nine_times_or_more(page):
    read = {}
    for i, (digit, strokes) in enumerate(HANDWRITING.items()):
        draw(page, strokes, size=0.45 + 0.04 * i, middle=(0.4 + 0.02 * i, 0.55 - 0.01 * i))
        read[digit] = answer(page).get_attribute("data-label")
        page.get_by_role("button", name="Clear").click()
    assert sum(digit == label for digit, label in read.items()) >= 9, read


def test_the_first_and_the_second_guess_are_told_with_five_bars_and_the_time(page):
    draw(page, HANDWRITING["3"])
    expect(answer(page)).to_contain_text("3")
    expect(page.locator("#answer strong")).to_have_count(2)
    expect(page.locator("#bars li")).to_have_count(5)
    expect(page.locator("#bars .label").first).to_have_text("3")
    expect(page.locator("#time")).to_contain_text(" ms")


def test_the_downsampled_drawing_that_the_network_saw_is_shown(page):
    draw(page, HANDWRITING["0"])
    answer(page)
    expect(page.get_by_role("img", name="What the network saw")).to_be_visible()
    seen = seen_pixels(page)
    assert seen.shape == (8, 8)
    assert seen[[0, 7]].max(axis=1).min() > 100  # white ink fills the height,
    assert seen[3:5, [2, 5]].min() > 100  # around a black middle,
    assert seen[3:5, 3:5].max() < 100
    assert seen[:, [0, 7]].max() < 50  # and leaves room on both sides


def test_a_small_and_a_large_drawing_look_alike_to_the_network(page):
    seen = []
    for size, middle in ((0.2, (0.3, 0.7)), (0.8, (0.5, 0.5))):
        draw(page, HANDWRITING["5"], size=size, middle=middle)
        answer(page)
        seen.append(seen_pixels(page))
        page.get_by_role("button", name="Clear").click()
    assert abs(seen[0] - seen[1]).mean() < 10


def test_a_drawing_for_a_version_that_says_nothing_about_drawings_is_sent_as_it_is(blank):
    list_versions(blank, {"version": 1, "drawing": None})
    opened(blank)
    with blank.expect_request("**/versions/1/classify*") as asked:
        draw(blank, HANDWRITING["8"])
    answer(blank)
    expect(blank.locator("#seen")).to_be_hidden()
    body = asked.value.post_data_buffer
    assert body is not None
    assert int.from_bytes(body[16:20]) == int.from_bytes(body[20:24]) == 640  # of the PNG's header


def test_a_model_that_nobody_draws_for_invites_to_drop_an_image(blank):
    list_versions(blank, {"version": 1, "drawing": None}, {"version": 2})
    opened(blank)
    invitation = blank.locator("#invitation")
    expect(invitation).to_have_text("Draw here")
    blank.get_by_label("Version", exact=True).select_option("1")
    expect(invitation).to_have_text("Drop, paste or choose an image")
    assert blank.locator("#canvas").evaluate("canvas => getComputedStyle(canvas).cursor") == "auto"
    expect(blank.get_by_role("button", name="Undo")).to_be_hidden()
    expect(blank.get_by_role("button", name="Clear")).to_be_hidden()


def test_labels_of_which_an_image_has_any_number_are_told_with_bars_of_their_own(browser, tmp_path):
    saved = write_colours(tmp_path / "saved")["multi_label"]
    publish(imported_bundle(saved, tmp_path / "bundle", "colours", "multi_label"), tmp_path / "exports")
    with running_service(tmp_path / "exports", tmp_path, feedback_open=1) as service:
        page = browser.new_page()
        page.set_default_timeout(10_000)
        page.goto(service.url)
        expect(page.locator("#classes")).to_have_text(
            "It knows red, green, blue. An image may have any number of these labels, or none."
        )
        choose(page, coloured(255, 255, 0))
        expect(answer(page)).to_have_text("It has the labels red (98\u00a0%) and green (98\u00a0%).")
        expect(page.get_by_role("list", name="The most probable labels").locator("li.chosen .label")).to_have_text(
            ["red", "green"]
        )
        expect(page.locator("#bars .percent")).to_have_text(["98\u00a0%", "98\u00a0%", "2\u00a0%"])
        expect(page.locator("#saw")).to_have_text(
            "Each label has a probability of its own, and counts from 50\u00a0% on."
        )
        choose(page, coloured(0, 0, 0))
        expect(page.locator("#answer")).to_have_text(
            "It has none of the labels: none has a probability of 50\u00a0% or more."
        )
        expect(page.locator("#bars li.chosen")).to_have_count(0)
        expect(page.locator("#correct")).to_be_hidden()
        expect(page.locator("#labelling")).to_be_hidden()
        page.goto(f"{service.url}/label")
        expect(page.locator("#error")).to_contain_text("colours gives an image any number of labels: it takes none.")
        page.close()


def test_the_page_for_labelling_says_that_a_service_takes_no_feedback(blank):
    blank.goto("/label")
    expect(blank.locator("#error")).to_contain_text("This service takes no feedback.")


def choose(page: Page, data: bytes) -> None:
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": data})


def test_undo_takes_back_one_stroke_and_asks_again(page):
    draw(page, HANDWRITING["1"])
    expect_label(page, "1")
    draw(page, [arc(50, 50, 100, 100, 0, 360)])
    page.get_by_role("button", name="Undo").click()
    expect_label(page, "1")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#answer")).to_have_text("What will it be?")


def test_a_chosen_file_is_classified_and_shown(page, digits_exports):
    page.set_input_files(
        "#file", {"name": "a.png", "mimeType": "image/png", "buffer": golden_image(digits_exports, "3")}
    )
    expect_label(page, "3")
    expect(page.get_by_role("img", name="a.png")).to_be_visible()


def test_a_dropped_file_is_classified(page, digits_exports):
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(bytes)], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        list(golden_image(digits_exports, "4")),
    )
    page.dispatch_event("footer", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("footer", "drop", {"dataTransfer": transfer})
    expect_label(page, "4")


def test_a_pasted_image_is_classified(page, digits_exports):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """(bytes) => navigator.clipboard.write([
            new ClipboardItem({ "image/png": new Blob([Uint8Array.from(bytes)], { type: "image/png" }) }),
        ])""",
        list(golden_image(digits_exports, "3")),
    )
    page.keyboard.press("Control+V")
    expect_label(page, "3")


def sent(page: Page, name: str, data: bytes) -> bytes:
    """What the page uploads of a file that somebody chooses; Playwright shows no bodies that are files."""
    page.evaluate(
        """() => {
            const send = window.fetch;
            window.fetch = (url, options) => {
                if (options?.body) window.sent = options.body;
                return send(url, options);
            };
        }"""
    )
    with page.expect_request("**/classify?top_k=5"):
        page.set_input_files("#file", {"name": name, "mimeType": f"image/{Path(name).suffix[1:]}", "buffer": data})
    url: str = page.evaluate(
        """() => new Promise((resolve) => {
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result);
            reader.readAsDataURL(new Blob([window.sent]));
        })"""
    )
    return base64.b64decode(url.partition(",")[2])


@pytest.mark.parametrize("orientation", [1, 6, 5])
def test_a_large_photograph_is_scaled_down_before_it_is_sent_and_stays_upright(page, orientation):
    """One of 48 million pixels was refused, and each had to go through a telephone's connection whole."""
    upright = smooth(3000, 2000)
    body = sent(page, "large.jpeg", encode_turned(upright, orientation, "JPEG"))
    answer(page)
    with Image.open(io.BytesIO(body)) as image:
        assert image.format == "JPEG"
        assert abs(image.width * image.height - 4e6) < 4e3
        assert abs(image.width / image.height - 2 / 3) < 1e-3
    seen, expected = (decode_image(data, InputSpec(30, 20, 3)) for data in (body, encode(upright, "JPEG")))
    assert abs(seen.astype(int) - expected).max() < 12


def test_a_large_transparent_image_is_laid_over_white_as_the_service_does(page):
    pixels = np.zeros((2400, 2000, 4), np.uint8)
    pixels[:1200] = (255, 0, 0, 255)
    body = sent(page, "large.png", encode(pixels, compress_level=1))
    seen = decode_image(body, InputSpec(20, 1, 3, "squash"))[[0, -1], 0].astype(int)
    assert abs(seen - [[255, 0, 0], [255, 255, 255]]).max() < 8


@pytest.mark.parametrize(
    ("name", "data"),
    [("small.png", encode(noise(64, 64, 3))), ("scan.tiff", encode(noise(64, 64, 3), "TIFF"))],
)
def test_a_small_file_and_one_that_the_browser_cannot_read_are_sent_as_they_are(page, name, data):
    assert sent(page, name, data) == data
    answer(page)


def test_a_photograph_in_heic_that_the_browser_reads_is_sent_as_jpeg(page):
    """Chromium reads no HEIC, but looks at the bytes and not at the name; Safari reads it."""
    body = sent(page, "photograph.heic", encode(smooth(640, 480)))
    answer(page)
    with Image.open(io.BytesIO(body)) as image:
        assert (image.format, image.size) == ("JPEG", (480, 640))


def test_a_file_that_is_no_image_shows_what_the_service_says(page):
    draw(page, HANDWRITING["3"])
    answer(page)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image at all"})
    expect(page.get_by_role("alert")).to_contain_text("Unrecognized image format (15 bytes)")
    expect(page.locator("#bars li")).to_have_count(0)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_service_that_is_gone_is_asked_again_when_it_is_back(page):
    page.route("**/models/**", lambda route: route.abort())
    draw(page, HANDWRITING["2"])
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/models/**")
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect_label(page, "2")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_digit_is_drawn_with_the_keyboard_alone(page):
    tab_to(page, page.get_by_label("Drawing"))
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    expect_label(page, "1")
    tab_to(page, page.get_by_role("button", name="Clear"))
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text("What will it be?")


def test_a_file_is_chosen_with_the_keyboard_alone(page, digits_exports):
    page.on("filechooser", lambda _: None)  # expect_file_chooser() alone may come too late for Chromium
    tab_to(page, page.get_by_role("button", name="Choose images"))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": golden_image(digits_exports, "4")})
    expect_label(page, "4")


def tab_to(page: Page, target: Locator) -> None:
    for _ in range(10):
        if target.evaluate("element => element === document.activeElement && element.matches(':focus-visible')"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not reach {target}")


def test_a_drawing_is_asked_again_of_the_version_that_is_chosen(blank):
    list_versions(blank, {"version": 2, "state": "loading"}, {"version": 1})
    opened(blank)
    draw(blank, HANDWRITING["2"])
    answer(blank)
    list_versions(blank, {"version": 1}, {"version": 2})
    with blank.expect_request("**/models/digits/versions/2/classify?top_k=5"):
        blank.evaluate("window.dispatchEvent(new Event('focus'))")
    with blank.expect_request("**/models/digits/versions/1/classify?top_k=5"):
        blank.get_by_label("Version", exact=True).select_option("1")


def test_a_new_version_appears_and_a_choice_is_kept(blank):
    list_versions(blank, {"version": 1}, {"version": 2})
    opened(blank)
    select = blank.get_by_label("Version", exact=True)
    expect(select).to_have_value("2")
    select.select_option("1")
    list_versions(blank, {"version": 1}, {"version": 2}, {"version": 3})
    blank.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(select.get_by_role("option")).to_have_text(["1", "2", "3, live"])
    expect(select).to_have_value("1")


def test_a_class_name_is_text_and_never_markup(blank):
    name = "<img src='https://example.com/x' onerror='alert(1)'>"
    top = [{"label": name, "index": i, "probability": 0.5} for i in range(2)]

    def reply(route: Route) -> None:
        route.fulfill(json={"model": "digits", "version": 1, "predictions": [{"top": top}]})

    list_versions(blank, {"version": 1, "class_names": [name, name]})
    blank.route("**/classify*", reply)
    opened(blank)
    expect(blank.locator("#classes")).to_contain_text(name)
    draw(blank, HANDWRITING["1"])
    expect(answer(blank)).to_contain_text(name)
    expect(blank.locator("#bars .label").first).to_have_text(name)


def test_a_phone_shows_drawing_and_answer_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 360, "height": 640})
    draw(page, HANDWRITING["9"])
    expect(answer(page)).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for control in page.locator("button:visible, select:visible").all():
        box = control.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44, control


def test_a_page_without_a_key_asks_for_one_and_keeps_it_for_the_tab(browser, digits_exports, tmp_path):
    key = "a key of some length"
    with running_service(digits_exports, tmp_path, predict_keys=key) as service:
        page = browser.new_page()
        page.goto(service.url)
        expect(page.locator("#error")).to_contain_text("answers only who has an API key")
        page.get_by_label("API key").fill("not the key, but long")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#error")).to_contain_text("not known here")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_label("API key")).to_be_hidden()
        expect(page.locator("#error")).to_be_empty()
        page.set_input_files(
            "#file", {"name": "3.png", "mimeType": "image/png", "buffer": golden_image(digits_exports)}
        )
        expect(page.locator("#answer")).to_have_attribute("data-label", "3")
        page.reload()
        expect(page.locator("#model")).to_have_value("digits")
        page.close()


def run_snippet(language: str, code: str, folder: Path, key: str) -> str:
    """What the code prints, run in a folder that has the image."""
    (folder / "ask.mjs").write_text(code)
    command = {
        "curl": ["sh", "-c", code],
        "Python": [sys.executable, "-c", code],
        "JavaScript": ["node", "ask.mjs"],
    }[language]
    environment = {**os.environ, "STRIATE_KEY": key}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_code_beside_an_answer_gives_that_answer(page, tmp_path, language):
    if language == "JavaScript" and shutil.which("node") is None:
        pytest.skip("there is no node")
    draw(page, HANDWRITING["3"])
    expect_label(page, "3")
    page.get_by_text("Use it from code").click()
    page.get_by_label(language, exact=True).check()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save drawing.png").click()
    download.value.save_as(tmp_path / "drawing.png")
    printed = run_snippet(language, page.locator("#snippet").inner_text(), tmp_path, "")
    assert re.search(r"""['"]?label['"]?: ?['"]3['"]""", printed), printed


def test_the_code_copied_is_the_code_shown_and_names_the_key_where_there_is_one(browser, digits_exports, tmp_path):
    key = "a key of some length"
    with running_service(digits_exports, tmp_path, predict_keys=key) as service:
        context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.goto(service.url)
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        image = golden_image(digits_exports)
        name = "a 3, it's said.png"
        page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": image})
        expect(page.locator("#answer")).to_have_attribute("data-label", "3")
        page.get_by_text("Use it from code").click()
        page.get_by_role("button", name="Copy").click()
        expect(page.locator("#copied")).to_have_text("Copied.")
        code = page.evaluate("navigator.clipboard.readText()")
        assert code == page.locator("#snippet").inner_text()
        assert key not in code
        (tmp_path / name).write_bytes(image)
        for language in ("curl", "Python"):
            page.get_by_label(language, exact=True).check()
            printed = run_snippet(language, page.locator("#snippet").inner_text(), tmp_path, key)
            assert re.search(r"""['"]label['"]: ?['"]3['"]""", printed), printed
        context.close()


@pytest.fixture(scope="module")
def keeping(digits_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that keeps every image, and has been asked about noise of several kinds."""
    with running_service(digits_exports, tmp_path_factory.mktemp("keeping"), keep=1, feedback_open=1) as service:
        for seed in range(12):
            requests.post(f"{service.url}/classify", data=encode(noise(8, 8, seed=seed)), timeout=10)
        wait_until(lambda: collected(service)["kept"] == 12, service)
        yield service


@pytest.fixture
def teaching(browser: Browser, keeping: RunningService) -> Iterator[Page]:
    """A page of that service, not opened yet, on which no script may fail."""
    context = browser.new_context(base_url=keeping.url)
    context.set_default_timeout(10_000)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert not faults


def collected(service: RunningService) -> dict:
    return requests.get(f"{service.url}/models/digits/feedback", timeout=10).json()


def num_labelled(service: RunningService) -> int:
    return sum(collected(service)["labelled"].values())


def test_a_wrong_answer_is_corrected_where_it_is_read(teaching, keeping, digits_exports):
    page, before = teaching, num_labelled(keeping)
    opened(page)
    page.locator("#file").set_input_files(digits_exports / "digits" / "1" / "assets.extra" / "golden" / "3")
    page.get_by_label("Wrong: it is").select_option("8")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#thanks")).to_have_text("Thank you. The next training uses this image.")
    expect(page.locator("#correct")).to_be_hidden()
    assert num_labelled(keeping) == before + 1


def test_a_right_answer_is_confirmed_with_one_button(teaching, keeping, digits_exports):
    page, before = teaching, collected(keeping)["labelled"].get("7", 0)
    opened(page)
    page.locator("#file").set_input_files(digits_exports / "digits" / "1" / "assets.extra" / "golden" / "7")
    page.get_by_role("button", name="Correct").click()
    expect(page.locator("#thanks")).to_have_text("Thank you. The next training uses this image.")
    expect(page.locator("#correct")).to_be_hidden()
    assert collected(keeping)["labelled"]["7"] == before + 1


def test_images_are_labelled_by_keyboard_most_uncertain_first(teaching, keeping):
    page, before = teaching, num_labelled(keeping)
    listed = requests.get(f"{keeping.url}/models/digits/kept", timeout=10).json()["images"]
    page.goto("/label")
    expect(page.locator("#image")).to_be_visible()
    expect(page.locator("#choices .label").first).to_have_text(listed[0]["top"][0]["label"])
    page.keyboard.press("7")  # digits are their own keys
    expect(page.locator("#said")).to_have_text("That was 7.")
    expect(page.locator("#choices .label").first).to_have_text(listed[1]["top"][0]["label"])
    expect(page.locator("#image")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#left")).to_contain_text("2 of them here")
    expect(page.locator("#said")).to_have_text(f"That was {listed[1]['top'][0]['label']}.")
    expect(page.locator("#image")).to_be_visible()
    page.keyboard.press("x")
    expect(page.locator("#said")).to_have_text("Discarded.")
    assert num_labelled(keeping) == before + 2
    page.keyboard.press("u")
    expect(page.locator("#said")).to_have_text("Here it is again.")
    expect(page.locator("#choices .label").first).to_have_text(listed[2]["top"][0]["label"])
    page.keyboard.press("x")
    expect(page.locator("#said")).to_have_text("Discarded.")
    page.keyboard.press("s")
    expect(page.locator("#said")).to_have_text("Skipped.")
    left = [kept["image"] for kept in requests.get(f"{keeping.url}/models/digits/kept", timeout=10).json()["images"]]
    assert left == [kept["image"] for kept in listed[3:]]


def test_images_with_two_labels_are_seen_and_settled(teaching, keeping, digits_exports):
    page, image = teaching, encode(noise(40, 40, seed=77))
    url = f"{keeping.url}/models/digits/feedback"
    for label in ("1", "2"):
        body = {"label": label, "image": base64.b64encode(image).decode()}
        assert requests.post(url, json=body, timeout=10).ok
    page.goto("/label")
    expect(page.locator("#question")).to_have_text("Which label is right?")
    page.get_by_text("Images with several labels: 1").click()
    page.get_by_role("button", name="1 or 2").click()
    expect(page.locator("#image")).to_be_visible()
    expect(page.locator("#choices .label").first).to_have_text("1")
    page.keyboard.press("2")
    expect(page.locator("#said")).to_have_text("That was 2.")
    expect(page.locator("#apart")).to_be_hidden()
    assert collected(keeping)["contradictory"] == []
    expect(page.locator("#question")).to_have_text("What is this?")


def test_a_slip_of_the_finger_is_taken_back(teaching, keeping):
    page = teaching
    page.goto("/label")
    expect(page.locator("#image")).to_be_visible()
    before = collected(keeping)["labelled"]
    page.keyboard.press("3")
    expect(page.locator("#said")).to_have_text("That was 3.")
    expect(page.locator("#image")).to_be_visible()
    page.keyboard.press("u")
    expect(page.locator("#said")).to_have_text("It was 3.")
    expect(page.locator("#image")).to_be_visible()
    page.keyboard.press("5")
    expect(page.locator("#said")).to_have_text("That was 5.")
    after = collected(keeping)["labelled"]
    assert after.get("5", 0) == before.get("5", 0) + 1
    assert after.get("3", 0) == before.get("3", 0)


def test_keys_pressed_too_fast_label_nothing_unseen(teaching, keeping):
    page, before = teaching, num_labelled(keeping)
    page.goto("/label")
    expect(page.locator("#image")).to_be_visible()
    page.evaluate("for (const key of '1234') document.dispatchEvent(new KeyboardEvent('keydown', { key }))")
    expect(page.locator("#said")).to_have_text("That was 1.")
    expect(page.locator("#image")).to_be_visible()
    assert num_labelled(keeping) == before + 1
    assert collected(keeping)["contradictory"] == []


def test_each_version_shows_where_it_comes_from_and_its_report(teaching):
    page = teaching
    opened(page).get_by_role("link", name="Its versions").click()
    expect(page.get_by_role("heading", name="Version 1, live")).to_be_visible()
    expect(page.locator("dl")).to_contain_text("lenet5")
    page.get_by_role("link", name="how good it is").click()
    expect(page.locator("body")).to_contain_text("accuracy")


def test_pages_for_labelling_and_versions_ask_for_a_key_where_one_is_wanted(browser, digits_exports, tmp_path):
    settings = {"predict_keys": "p" * 16, "feedback_keys": "f" * 16}
    with running_service(digits_exports, tmp_path, **settings) as service:
        context = browser.new_context(base_url=service.url)
        page = context.new_page()
        page.goto("/models/digits/versions")
        page.get_by_label("API key").fill("p" * 16)
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_role("heading", name="Version 1, live")).to_be_visible()
        page.goto("/label")  # which wants another
        expect(page.locator("#error")).to_have_text("This API key does not allow this.")
        context.close()
