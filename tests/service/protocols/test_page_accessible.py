"""axe-core finds nothing serious on any page: light and dark, wide and narrow."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import expect_label, violations
from tests.harness import golden_image
from tests.images import encode, noise

PAGES = {"/": "#examples li", "/label": "#error, #nothing, main", "/models/digits/versions": ".versions > li"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(browser: Browser, digits_service, digits_exports, scheme, width):
    context = browser.new_context(
        base_url=digits_service, color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
    )
    page = context.new_page()
    for address, there in PAGES.items():
        page.goto(address)
        expect(page.locator(there).first).to_be_visible()
        if address == "/":
            image = {"name": "a.png", "mimeType": "image/png", "buffer": golden_image(digits_exports, "3")}
            page.set_input_files("#file", image)
            expect_label(page, "3")
            page.get_by_text("Use it from code").click()
            page.get_by_text("Inside the network").click()
            expect(page.get_by_role("row", name="logits")).to_be_visible()
            assert not violations(page)
            odd = {"name": "odd.png", "mimeType": "image/png", "buffer": encode(noise(60, 60, seed=2))}
            page.set_input_files("#file", odd)
            expect(page.locator("#answer .badge")).to_be_visible()
        found = violations(page)
        assert not found, "\n".join(found)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_report(browser: Browser, digits_training, scheme):
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto((digits_training.run / "report.html").as_uri())
    page.get_by_text("Settings, data and machine").click()
    found = violations(page)
    assert not found, "\n".join(found)
    context.close()
