"""/docs: every route to read and to try, from files of the service alone."""

import requests
from playwright.sync_api import expect


def test_every_route_is_there_and_can_be_tried(blank, digits_service):
    blank.goto("/docs")
    paths = requests.get(f"{digits_service}/openapi.json", timeout=10).json()["paths"]
    expect(blank.locator("rapi-doc").get_by_text("/models/{name}/explain").first).to_be_visible()
    listed = blank.locator("rapi-doc .nav-bar-path").count()
    assert listed == sum(len(methods) for methods in paths.values())
    blank.goto("/docs#get-/healthz")
    section = blank.locator("rapi-doc .section-gap, rapi-doc .observe-me").filter(has_text="/healthz").first
    section.get_by_role("button", name="TRY").first.click()
    expect(section.get_by_text("alive").first).to_be_visible()


def test_it_is_dark_where_the_other_pages_are(browser, digits_service):
    for scheme in ("light", "dark"):
        context = browser.new_context(base_url=digits_service, color_scheme=scheme)
        page = context.new_page()
        page.goto("/docs")
        expect(page.locator("rapi-doc")).to_have_attribute("theme", scheme)
        context.close()
