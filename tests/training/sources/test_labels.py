"""What somebody says about labels and groups, before any file is read."""

from pathlib import Path

import pytest

from training.sources.labels import BY_FOLDERS, BadLabels, Labels

TABLE = Path("labels.csv")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"label_column": "class"}, r"A label column was given, but no table\. Name the table, too"),
        ({"group_column": "patient"}, "A group column was given, but no table"),
        ({"class_names": Path("names.txt")}, "names of classes was given, but no table"),
        ({"file": TABLE, "group_column": "a", "group_by": "b"}, "give one of them"),
        ({"group_by": "("}, r"'\(', by which to group, is no regular expression: missing \)"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, str], complaint: str) -> None:
    with pytest.raises(BadLabels, match=complaint):
        Labels(**given)


def test_a_table_is_looked_for_here_and_then_in_the_folder_of_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "images"
    root.mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadLabels, match=r"There is no file labels\.csv, neither here nor in .*images"):
        Labels(TABLE).located(root)
    (root / TABLE).touch()
    assert Labels(TABLE).located(root).file == root / TABLE
    (tmp_path / TABLE).touch()
    assert Labels(TABLE).located(root).file == TABLE
    with pytest.raises(BadLabels, match="images is a folder"):
        Labels(Path("images")).located(tmp_path)


def test_lineage_tells_tables_of_one_name_apart_by_their_content(tmp_path: Path) -> None:
    (tmp_path / TABLE).write_text("file,label\n")
    before = Labels(tmp_path / TABLE, label_column="label").describe()
    assert before["file"] == "labels.csv"
    assert before["label_column"] == "label"
    (tmp_path / TABLE).write_text("file,label\na.jpg,cat\n")
    assert Labels(tmp_path / TABLE, label_column="label").describe() != before
    assert BY_FOLDERS.describe() == {}
