"""The page with several images at once, test images to try, and a camera."""

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from models.bundle.manifest import read_golden
from tests.browser import expect_label, opened
from tests.harness import golden_image, running_service
from tests.images import encode, noise


def files(exports, *names: str) -> list[dict]:
    return [{"name": f"{name}.png", "mimeType": "image/png", "buffer": golden_image(exports, name)} for name in names]


def test_several_images_have_their_labels_under_them_and_the_one_that_is_pressed_is_looked_at(page, digits_exports):
    page.set_input_files("#file", files(digits_exports, "3", "4", "7"))
    expect_label(page, "3")
    several = page.get_by_role("list", name="Your images").get_by_role("listitem")
    expect(several).to_have_count(3)
    for item, label in zip(several.all(), "347", strict=True):
        expect(item).to_contain_text(f"{label}, ")
    several.nth(1).get_by_role("button").click()
    expect_label(page, "4")
    expect(page.get_by_role("img", name="4.png", exact=True).first).to_be_visible()
    expect(several).to_have_count(3)
    page.get_by_role("button", name="Clear").click()
    expect(several).to_have_count(0)


def test_one_image_among_several_that_is_none_says_so_and_the_others_are_answered(page, digits_exports):
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"}
    page.set_input_files("#file", [*files(digits_exports, "3"), broken, *files(digits_exports, "7")])
    several = page.get_by_role("list", name="Your images").get_by_role("listitem")
    expect(several.nth(1)).to_contain_text("Unrecognized image format")
    expect(several.nth(2)).to_contain_text("7, ")


def test_an_image_unlike_the_training_images_gets_a_badge_and_no_confident_sentence(page, digits_exports):
    odd = {"name": "odd.png", "mimeType": "image/png", "buffer": encode(noise(60, 60, seed=2))}
    page.set_input_files("#file", odd)
    expect(page.locator("#answer .badge")).to_have_text("Unlike the training images")
    page.set_input_files("#file", files(digits_exports, "3"))
    expect_label(page, "3")
    expect(page.locator("#answer .badge")).to_have_count(0)


def test_test_images_of_the_version_can_be_tried_by_keyboard(page):
    examples = page.get_by_role("list", name="Test images").get_by_role("button")
    expect(examples).to_have_count(8)
    examples.first.focus()
    page.keyboard.press("Enter")
    expect_label(page, "0")
    examples.nth(5).press("Enter")
    expect(page.locator("#preview")).to_be_visible()


def test_the_service_gives_the_test_images_that_it_was_checked_with(digits_service, digits_exports):
    golden = [data for data, _ in read_golden(digits_exports / "digits" / "1")]
    url = f"{digits_service}/models/digits/versions/1/examples"
    assert requests.get(url, timeout=10).json() == {"examples": len(golden)}
    last = requests.get(f"{url}/{len(golden) - 1}", timeout=10)
    assert (last.content, last.headers["Content-Type"]) == (golden[-1], "image/png")
    for path in (f"{url}/{len(golden)}", url.replace("/1/", "/7/"), url.replace("digits", "cats")):
        assert requests.get(path, timeout=10).status_code == 404, path


def test_an_operator_can_keep_test_images_back(digits_exports, tmp_path):
    with running_service(digits_exports, tmp_path, workers=1, examples=0) as service:
        url = f"{service.url}/models/digits/versions/1/examples"
        assert requests.get(url, timeout=10).json() == {"examples": 0}
        assert requests.get(f"{url}/0", timeout=10).status_code == 404


@pytest.mark.parametrize("has_touch", [True, False])
def test_a_camera_is_offered_where_there_is_one_to_hold(browser: Browser, digits_service, digits_exports, has_touch):
    context = browser.new_context(base_url=digits_service, has_touch=has_touch, is_mobile=has_touch)
    page: Page = opened(context.new_page())
    button = page.get_by_role("button", name="Take a photograph")
    if has_touch:
        with page.expect_file_chooser() as chosen:
            button.click()
        chosen.value.set_files(files(digits_exports, "7")[0])
        expect_label(page, "7")
    else:
        expect(button).to_be_hidden()
    context.close()


def test_the_service_gives_the_model_card_of_a_version(digits_service):
    card = requests.get(f"{digits_service}/models/digits/versions/1/card", timeout=10)
    assert card.headers["Content-Type"].startswith("text/markdown")
    assert card.text.startswith("# Model card: digits")
    assert requests.get(f"{digits_service}/models/digits/versions/7/card", timeout=10).status_code == 404
