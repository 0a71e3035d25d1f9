"""Pages tell visitors what is wrong in words; names of settings are for whoever runs the service."""

import pytest
from playwright.sync_api import Page, expect

MESSAGES = {
    "The body is over the limit (SERVICE_MAX_BODY_BYTES).": "The body is over the limit.",
    "This service takes no feedback: SERVICE_FEEDBACK names no folder.": "This service takes no feedback.",
    "Nobody may do this over HTTP: the service has no SERVICE_FEEDBACK_KEYS, and SERVICE_FEEDBACK_OPEN is not 1.": (
        "Nobody may do this over HTTP."
    ),
    "12 images came, and 8 may wait here (SERVICE_QUEUE_CAPACITY).": "12 images came, and 8 may wait here.",
    "Only 12 masks were computed. The operator can raise SERVICE_DEADLINE_S.": "Only 12 masks were computed.",
    "SERVICE_DEFAULT_MODEL says which is the default model here: cats.": "The service is not set up for this.",
    "Unrecognized image format (9 bytes). Send JPEG, PNG or TIFF.": (
        "Unrecognized image format (9 bytes). Send JPEG, PNG or TIFF."
    ),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_names_of_settings_are_left_out_on_pages(page: Page, message: str) -> None:
    assert page.evaluate("(message) => inWords(message)", message) == MESSAGES[message]


def test_the_page_for_labelling_names_no_setting(blank: Page) -> None:
    blank.goto("/label")
    expect(blank.get_by_role("alert")).to_have_text(
        "This service takes no feedback. Whoever runs it can open it for that."
    )
