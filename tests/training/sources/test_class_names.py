"""Files that name the classes which a table numbers."""

from pathlib import Path

import pytest

from training.sources.class_names import named, read_class_names
from training.sources.labels import BadLabels

CAT_AND_DOG = {"0": "cat", "1": "big dog"}


def read(folder: Path, text: str) -> dict[str, str]:
    path = folder / "names.txt"
    path.write_text(text, encoding="utf-8")
    return read_class_names(path)


@pytest.mark.parametrize(
    "text",
    [
        "cat\nbig dog\n",
        "0 cat\n1 big dog\n",
        "1,big dog\r\n0,cat\r\n",
        "0\tcat\n1\tbig dog",
        "id,name\n0,cat\n1,big dog\n",
        "00: cat\n01: big dog\n",
        '["cat", "big dog"]',
        '{"0": "cat", "1": "big dog"}',
        '{"cat": 0, "big dog": 1}',
    ],
)
def test_names_are_read_in_every_usual_form(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == CAT_AND_DOG


def test_lines_that_begin_with_one_number_more_than_once_are_names(tmp_path: Path) -> None:
    assert read(tmp_path, "1 euro\n1 cent\n") == {"0": "1 euro", "1": "1 cent"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (" \n", r"names\.txt is empty\. Give a name on each line"),
        ("crane\nmaillot\ncrane\n", r"has the name 'crane' for 2 classes\. Give each a name of its own"),
        ('["cat", ', r"begins as JSON and is none"),
        ('{"cat": 0.5}', r"has values that are no names"),
    ],
)
def test_a_file_that_names_no_classes_says_why(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadLabels, match=complaint):
        read(tmp_path, text)


def test_a_label_without_a_name_is_an_error_with_both_counts() -> None:
    """Labels that count from 1, say."""
    assert named(["1", "", "0"], CAT_AND_DOG, Path("names.txt"), "labels.csv") == ["big dog", "", "cat"]
    said = (
        r"The label 2 of labels\.csv has no name in names\.txt: that has 2 names, of 0 to 1, and the table 2 labels, "
        r"1 to 2\. Give"
    )
    with pytest.raises(BadLabels, match=said):
        named(["1", "2", "1"], CAT_AND_DOG, Path("names.txt"), "labels.csv")
