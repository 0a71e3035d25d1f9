"""Names of classes are read from what people keep beside a model."""

from pathlib import Path

import pytest

from training.importing.class_names import (
    BadClassNames,
    check_number,
    match_folders,
    names_of_folders,
    read_class_names,
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "cat\ndog\nGroße Eule\n"),
        ("labels.txt", "\ufeff0 cat\n1 dog\n2 Große Eule\n"),  # Teachable Machine's
        ("labels.txt", "0: cat\r\n1: dog\r\n2: Große Eule"),
        ("labels.json", '["cat", "dog", "Große Eule"]'),
        ("labels.json", '{"labels": ["cat", "dog", "Große Eule"]}'),
        ("labels.json", '{"2": "Große Eule", "0": "cat", "1": "dog"}'),
        ("labels.json", '{"dog": 1, "cat": 0, "Große Eule": 2}'),  # Keras's class_indices
        ("labels.json", '{"0": ["n01", "cat"], "1": ["n02", "dog"], "2": ["n03", "Große Eule"]}'),  # ImageNet's
        ("labels.csv", "name\ncat\ndog\nGroße Eule\n"),
        ("labels.csv", "index,name\n0,cat\n1,dog\n2,Große Eule\n"),
        ("labels.csv", "cat,0\ndog,1\nGroße Eule,2\n"),
    ],
)
def test_the_usual_forms_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / name) == ("cat", "dog", "Große Eule")


def test_a_line_that_begins_with_a_number_is_a_name_where_not_all_do(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("7 up\ncola\n")
    assert read_class_names(tmp_path / "labels.txt") == ("7 up", "cola")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("labels.txt", b"", "has 0 names; two or more"),
        ("labels.txt", b"cat\ncat\n", "names 'cat' more than once"),
        ("labels.txt", b"\xff\xfe", "write one name a line"),
        ("labels.json", b"{", "write one name a line"),
        ("labels.json", b'{"0": "cat", "2": "dog"}', "numbers are not 0 to 1"),
        ("labels.json", b"7", "no list of names"),
        ("labels.csv", b"a,b\nc,d\n", "neither of its first two columns holds numbers"),
        ("labels.csv", b"a,b\nc\n", "different numbers of cells"),
    ],
)
def test_what_names_no_classes_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadClassNames, match=says):
        read_class_names(tmp_path / name)


def test_a_wrong_number_of_names_is_shown_beside_the_right_one() -> None:
    with pytest.raises(BadClassNames, match=r"pets.txt names 3 classes \(cat, dog, owl\).* answers with 1,000 numbers"):
        check_number(("cat", "dog", "owl"), 1000, "pets.txt")


def test_folders_are_matched_with_classes_whatever_their_capitals_and_blanks() -> None:
    assert match_folders(["great_owl", "CAT", "great_owl"], ("cat", "Great Owl")) == [1, 0, 1]
    with pytest.raises(BadClassNames, match="has a folder 'cow', and no class is called so; the classes are cat, dog"):
        match_folders(["cow"], ("cat", "dog"))


def test_folders_name_the_classes_of_a_model_that_tells_none_only_if_there_is_one_for_each():
    assert names_of_folders(["dog", "cat", "dog"], 2) == ("cat", "dog")
    assert names_of_folders(["class_1", "Class 0"], 3) == ("class 0", "class 1", "class 2")
    with pytest.raises(
        BadClassNames, match=r"none of its 3 classes, and --images has 2 folders \(cat, dog\).*--labels"
    ):
        names_of_folders(["dog", "cat"], 3)
