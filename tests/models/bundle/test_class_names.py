"""What can be the name of a class, and the one form in which it is kept."""

import os
import unicodedata

import pytest

from models.bundle.class_names import BadClassName, all_nfc, check_class_name, check_label, look_alike

DECOMPOSED = unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(
    "name",
    [
        "New\u00a0York",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f469\u200d\U0001f33e",
        "big cat",
        "cat ",
    ],
    ids=["no-break space", "zero-width non-joiner", "zero-width joiner", "blank inside", "blank at the end"],
)
def test_a_blank_or_a_joiner_is_no_control_character(name: str) -> None:
    assert check_class_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        (" \u00a0", "is empty"),
        ("a/b", "has a slash"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("a\nb", r"control character \(U\+000A\)"),
        ("a\u2028b", r"control character \(U\+2028\)"),
        ("cat\0", r"control character \(U\+0000\)"),
        ("a\u202eb", "changes the direction of text"),
        ("é" * 128, "has 256 bytes; at most 255"),
        ("Desktop.ini", "one that operating systems use"),
        (os.fsdecode(b"caf\xe9"), "is not valid UTF-8"),
    ],
)
def test_each_refusal_of_a_name_has_its_own_reason(name: str, reason: str) -> None:
    with pytest.raises(BadClassName, match=reason) as caught:
        check_class_name(name)
    str(caught.value).encode()  # it can be printed, whatever the name was
    with pytest.raises(BadClassName, match=reason):
        check_label(name)


@pytest.mark.parametrize("label", [" cat", "cat ", "cat\n", "\u00a0cat"])
def test_a_label_that_somebody_sends_has_no_blanks_around_it(label: str) -> None:
    with pytest.raises(BadClassName, match="has blanks around it"):
        check_label(label)


def test_a_name_is_kept_composed_however_it_comes() -> None:
    assert DECOMPOSED != "café"
    assert check_class_name(DECOMPOSED) == check_label(DECOMPOSED) == "café"


def test_names_of_an_old_model_are_composed_unless_two_of_them_would_be_one() -> None:
    assert all_nfc([DECOMPOSED, "thé"]) == ("café", "thé")
    assert all_nfc([DECOMPOSED, "café"]) == (DECOMPOSED, "café")


def test_names_that_differ_by_case_or_by_what_cannot_be_seen_look_alike() -> None:
    names = ["Cat", "cat", "cat ", "dog", "New\u00a0York", "New York", "big cat", "\u200ddog"]
    assert look_alike(names) == [("Cat", "cat", "cat "), ("dog", "\u200ddog"), ("New\u00a0York", "New York")]
