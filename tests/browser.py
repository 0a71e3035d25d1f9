"""Chromium, and what tests of pages share."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Request, expect

CHROMIUM = "/usr/bin/chromium"
QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", *QUIET]


def is_own(request: Request, service: str) -> bool:
    return request.url.startswith((f"{service}/", "data:", f"blob:{service}/"))


def is_refusal(message: str) -> bool:
    """Chromium's own note of a request that failed or was answered with an error."""
    return message.startswith("Failed to load resource")


def opened(page: Page) -> Page:
    page.goto("/")
    expect(page.get_by_label("Version", exact=True)).not_to_have_value("")
    return page


def answer(page: Page) -> Locator:
    """The sentence, once it is about the newest image."""
    sentence = page.locator("#answer[data-label][aria-busy=false]")
    sentence.wait_for()
    return sentence


def expect_label(page: Page, label: str) -> None:
    expect(answer(page)).to_have_attribute("data-label", label)


def violations(page: Page) -> list[str]:
    """What axe-core finds serious on a page; its context has `bypass_csp`."""
    return [
        f"{page.url}: {each['impact']}: {each['help']}: {[node['html'][:150] for node in each['nodes']]}"
        for each in Axe().run(page).response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
