"""The page shows where the network looked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import expect_label, opened
from tests.harness import golden_image, running_service

PATIENCE_MS = 600_000  # it is explained in time that others leave, and tests leave little


@pytest.fixture
def page(browser: Browser, digits_exports: Path, tmp_path: Path) -> Iterator[Page]:
    with running_service(digits_exports, tmp_path, workers=1, deadline_s=PATIENCE_MS / 1000) as service:
        context = browser.new_context(base_url=service.url)
        yield context.new_page()
        context.close()


def choose(page: Page, image: bytes) -> None:
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": image})


def test_where_it_looked_is_shown_for_the_class_that_is_asked_for(page, digits_exports):
    opened(page)
    expect(page.get_by_label("Where did it look for")).to_be_hidden()
    choose(page, golden_image(digits_exports, "3"))
    expect_label(page, "3")
    asked = page.get_by_label("Where did it look for")
    expect(asked).to_have_value("3")
    assert sorted(asked.locator("option").all_text_contents()) == sorted("0123456789")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("img", name="Where the network looked for 3")).to_be_visible(timeout=PATIENCE_MS)
    assert page.locator("#overlay").evaluate("picture => picture.naturalWidth") == 256
    asked.select_option("8")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("img", name="Where the network looked for 8")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#meaning")).to_contain_text("speaks for 8")
    choose(page, golden_image(digits_exports, "4"))
    expect_label(page, "4")
    expect(page.locator("#looked")).to_be_hidden()  # it was about another image


def test_an_address_can_ask_for_it_with_every_answer(page, digits_exports):
    page.goto("/?explain=1")
    expect(page.get_by_label("Version", exact=True)).not_to_have_value("")
    choose(page, golden_image(digits_exports, "3"))
    expect(page.get_by_role("img", name="Where the network looked for 3")).to_be_visible(timeout=PATIENCE_MS)
