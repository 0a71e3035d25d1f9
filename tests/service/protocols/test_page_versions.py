"""The page of a model's versions: how good each is, what differs, and which one answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from models.bundle.manifest import MANIFEST
from models.store.decisions import record_decision
from models.store.live import read_live, set_live
from models.store.publish import publish
from tests.browser import violations
from tests.harness import copy_of, running_service

KEY = "an admin's key of some length"
HELD = {
    "at": "2026-11-20T23:30:00Z",
    "outcome": "held",
    "reason": "the difference may be chance",
    "champion": 1,
    "findings": [{"rule": "accuracy", "outcome": "hold", "reason": "91.0 % and 91.5 % of 200 images"}],
    "version": None,
}


@pytest.fixture
def exports(digits_exports: Path, tmp_path: Path) -> Path:
    """Two versions, of which the second is live and says that it was trained with another rate; and a held job."""
    exports = copy_of(digits_exports, tmp_path / "exports")
    publish(exports / "digits" / "1", exports)
    path = exports / "digits" / "2" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["lineage"]["settings"]["learning_rate"] = 0.125
    path.write_text(json.dumps(manifest))
    record_decision(exports / "digits", HELD)
    return exports


@contextmanager
def page_of(browser: Browser, exports: Path, work: Path, view: dict | None = None, **settings: str) -> Iterator[Page]:
    """The page, in Auckland."""
    with running_service(exports, work, **settings) as service:
        context = browser.new_context(
            base_url=service.url, timezone_id="Pacific/Auckland", locale="en-GB", **view or {}
        )
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto("/models/digits/versions")
        yield page
        context.close()


def test_an_admin_makes_another_version_live_and_goes_back(browser, exports, tmp_path):
    with page_of(browser, exports, tmp_path, admin_keys=KEY) as page:
        page.get_by_text("Make another version live").click()
        page.get_by_label("Admin key").fill(KEY)
        page.get_by_role("button", name="Use it").last.click()
        page.get_by_role("button", name="Make it live").click()
        expect(page.get_by_role("status")).to_have_text("Version 1 is live.")
        assert read_live(exports / "digits").live == 1
        page.get_by_role("button", name="Go back to the version before").click()
        expect(page.get_by_role("status")).to_have_text("Version 2 is live.")
        expect(page.get_by_role("heading", name="Version 2, live")).to_be_visible()
        assert read_live(exports / "digits").live == 2


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious_for_an_admin(browser, exports, tmp_path, scheme, width):
    view = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "bypass_csp": True}
    with page_of(browser, exports, tmp_path, view, admin_keys=KEY) as page:
        page.evaluate("(key) => sessionStorage.setItem('key', key)", KEY)
        page.reload()
        expect(page.get_by_role("button", name="Make it live")).to_be_visible()
        page.locator(".changes summary").click()
        assert not violations(page)


def test_a_wrong_admin_key_is_said_and_forgotten(browser, exports, tmp_path):
    with page_of(browser, exports, tmp_path, admin_keys=KEY) as page:
        page.get_by_text("Make another version live").click()
        page.get_by_label("Admin key").fill("some other key of some length")
        page.get_by_role("button", name="Use it").last.click()
        expect(page.get_by_role("alert")).to_have_text("This key does not allow it.")
        assert page.evaluate("sessionStorage.getItem('key')") is None


def test_a_version_that_went_live_meanwhile_is_not_rolled_back(browser, exports, tmp_path):
    with page_of(browser, exports, tmp_path, admin_keys=KEY) as page:
        page.evaluate("(key) => sessionStorage.setItem('key', key)", KEY)
        page.reload()
        back = page.get_by_role("button", name="Go back to the version before")
        expect(back).to_be_visible()
        set_live(exports, "digits", 1)
        back.click()
        expect(page.get_by_role("alert")).to_contain_text("Version 1 of digits was made live meanwhile")
        assert read_live(exports / "digits").live == 1


def test_a_refused_change_is_said_and_changes_nothing(browser, exports, tmp_path):
    with page_of(browser, exports, tmp_path, admin_keys=KEY) as page:
        page.evaluate("(key) => sessionStorage.setItem('key', key)", KEY)
        page.reload()
        (exports / "digits" / "1" / "saved_model.pb").write_bytes(b"damaged")
        page.get_by_role("button", name="Make it live").click()
        expect(page.get_by_role("alert")).to_contain_text("saved_model.pb")
        assert read_live(exports / "digits").live == 2


def test_visitors_see_the_versions_and_cannot_change_which_one_answers(browser, exports, tmp_path):
    with page_of(browser, exports, tmp_path) as page:
        expect(page.locator("#versions > li")).to_have_count(2)
        expect(page.get_by_role("button", name="Make it live")).to_have_count(0)
        expect(page.locator("#administer")).to_be_hidden()  # the service has no admin keys


def test_the_chart_has_a_point_for_each_version_and_says_what_it_is(browser, exports, tmp_path):
    with page_of(browser, exports, tmp_path) as page:
        expect(page.locator("#chart circle")).to_have_count(2)
        expect(page.locator("#chart .live title")).to_contain_text("Version 2, live")
        expect(page.locator("#chart")).to_contain_text("95 % interval")


def test_what_differs_from_the_live_version_is_a_table(browser, exports, tmp_path):
    with page_of(browser, exports, tmp_path) as page:
        page.get_by_text("Compared with version 2, which is live: 1 difference").click()
        row = page.get_by_role("row", name="setting learning rate")
        expect(row).to_contain_text("0.125")


def test_jobs_that_published_nothing_are_listed_with_their_rules_in_local_time(browser, exports, tmp_path):
    with page_of(browser, exports, tmp_path) as page:
        job = page.locator("#jobs li").first
        expect(job).to_contain_text("held, 21 Nov 2026, 12:30")
        job.get_by_text("Rules").click()
        expect(job).to_contain_text("91.0 % and 91.5 % of 200 images")
