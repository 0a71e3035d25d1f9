"""Which column says what, as people call them."""

from pathlib import Path

import pytest

from training.sources.columns import Columns, choose_columns, marked
from training.sources.labels import BY_FOLDERS, BadLabels, Labels
from training.sources.table import Table


def table(**columns: list[str]) -> Table:
    return Table("labels.csv", tuple(name.replace("__", " ") for name in columns), list(columns.values()))


def chosen(given: Table, labels: Labels = BY_FOLDERS) -> Columns:
    """Where what ends in .jpg, or is x1 or x2, is a file."""
    return choose_columns(given, labels, lambda text: text.endswith(".jpg") or text in ("x1", "x2"))


NAMES, IDS = ["1.jpg", "2.jpg"], ["x1", "x2"]
KINDS, SPLITS = ["cat", "dog"], ["train", "test"]


@pytest.mark.parametrize(
    ("given", "path", "label", "split"),
    [
        (table(file=NAMES, label=KINDS), "file", "label", ""),
        (table(Class=KINDS, File_Name=NAMES), "File_Name", "Class", ""),
        (table(image_id=IDS, lesion_id=["7", "8"], dx=KINDS, age=["40", "50"]), "image_id", "dx", ""),
        (table(id_code=IDS, diagnosis=["0", "4"]), "id_code", "diagnosis", ""),
        (
            table(class__id=["0", "1"], filepaths=NAMES, labels=KINDS, data__set=SPLITS),
            "filepaths",
            "labels",
            "data set",
        ),
        (table(id=["0", "1"], filename=NAMES, category=KINDS), "filename", "category", ""),
        (table(photograph=NAMES, animal=KINDS), "photograph", "animal", ""),
        (table(name=["nowhere", "neither"], label=KINDS), "name", "label", ""),
        (table(file=NAMES, label=KINDS, fold=["train", ""]), "file", "label", "fold"),
        (table(file=NAMES, label=KINDS, fold=["1", "2"]), "file", "label", ""),
        (table(index=["0", "1"], Image=NAMES, Id=KINDS, breed=KINDS), "Image", "breed", ""),
    ],
    ids=[
        *("plain", "other case and order", "HAM10000", "APTOS", "Birds", "tiers", "unusual names", "no file is there"),
        *("splits", "folds with numbers", "an index"),
    ],
)
def test_columns_are_known_by_their_usual_names_and_by_the_files_they_name(
    given: Table, path: str, label: str, split: str
) -> None:
    found = chosen(given)
    assert (found.path, found.label, found.split, found.one_hot) == (path, label, split, ())
    assert f"images from column {path}, classes from column {label}" in found.describe()
    assert "guessed; say otherwise with --path-column, --label-column" in found.describe()


def test_columns_that_are_named_are_taken() -> None:
    given = table(a=NAMES, b=NAMES, c=KINDS, d=KINDS, e=SPLITS, f=["7", "8"])
    named = Labels(Path("labels.csv"), "b", "c", "e", "f")
    found = chosen(given, named)
    assert (found.path, found.label, found.split, found.group, found.guessed) == ("b", "c", "e", "f", ())
    assert found.describe() == "images from column b, classes from column c, splits from column e, groups from column f"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (
            ("file", "label"),
            r"labels\.csv has no column 'kind', which --label-column names\. Its columns are 'file', 'label'",
        ),
        (("file", "kind", "kind"), r"2 columns are called 'kind', which --label-column names"),
    ],
)
def test_a_column_that_is_named_has_to_be_there_once(names: tuple[str, ...], complaint: str) -> None:
    given = Table("labels.csv", names, [NAMES, *[KINDS] * (len(names) - 1)])
    with pytest.raises(BadLabels, match=complaint):
        chosen(given, Labels(Path("labels.csv"), label_column="kind"))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            table(file=NAMES, path=NAMES, label=KINDS),
            r"names the image cannot be told: it may be file or path\. .*Give --path",
        ),
        (
            table(file=NAMES, label=KINDS, target=KINDS),
            r"names the class cannot be told: it may be label or target\. .*--label-c",
        ),
        (
            table(file=NAMES, age=["4", "5"], sex=KINDS),
            r"none has a usual name for it\. Its columns are 'file', 'age', 'sex'\.",
        ),
        (table(a=["1", "2"], b=KINDS), r"names the image cannot be told: none has a usual name"),
    ],
    ids=["two paths", "two labels", "no label", "no path"],
)
def test_what_cannot_be_told_is_an_error_that_lists_the_columns_and_the_flag(given: Table, complaint: str) -> None:
    with pytest.raises(BadLabels, match=complaint):
        chosen(given)


def test_where_there_is_no_label_column_all_others_may_be_one_hot() -> None:
    given = table(image=IDS, MEL=["1.0", "0.0"], NV=["0.0", "1.0"], BKL=["0.0", "0.0"])
    found = chosen(given)
    assert (found.label, found.one_hot) == ("", ("MEL", "NV", "BKL"))
    assert "classes from the 3 one-hot columns MEL to BKL" in found.describe()
    assert marked(given, found.one_hot) == ["MEL", "NV"]


def test_columns_of_which_one_has_other_numbers_are_not_one_hot() -> None:
    with pytest.raises(BadLabels, match="names the class cannot be told"):
        chosen(table(image=IDS, MEL=["1", "0"], NV=["0", "1"], age=["40", "50"]))


def test_a_row_that_marks_none_or_several_classes_has_none_and_tables_of_such_rows_are_refused() -> None:
    rows = table(a=["1", "0", "1", "0", "1"], b=["0", "1", "1", "0", "0"])
    assert marked(rows, ("a", "b")) == ["a", "b", "", "", "a"]
    several = table(a=["1", "1", "1"], b=["1", "1", "0"])
    with pytest.raises(BadLabels, match="most rows do not have exactly one 1"):
        marked(several, ("a", "b"))
