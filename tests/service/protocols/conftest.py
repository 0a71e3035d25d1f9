"""A browser, and the page of a service in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import ARGUMENTS, CHROMIUM, is_own, is_refusal, opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"the page is tried in Chromium, and there is none at {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def blank(browser: Browser, digits_service: str) -> Iterator[Page]:
    """A page not opened yet; whatever a test does on it, no other host is asked and no script fails."""
    context = browser.new_context(base_url=digits_service, viewport={"width": 1200, "height": 800})
    context.set_default_timeout(10_000)
    page = context.new_page()
    faults: list[str] = []
    page.on("request", lambda request: None if is_own(request, digits_service) else faults.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: None if is_refusal(message.text) else faults.append(message.text))
    yield page
    context.close()
    assert not faults


@pytest.fixture
def page(blank: Page) -> Page:
    return opened(blank)
