"""The index of images whose classes a table names."""

from pathlib import Path

import pytest

from tests.images import write_folder
from training.data.index import SPLITS, Index
from training.data.table_index import index_table
from training.sources.file_finder import OutsideFolder
from training.sources.labels import BadLabels, Labels

ANY = b"anything"  # the index reads no file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images in one folder and in another below it."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c.jpg", "more/d.jpg", "more/e.PNG"):
        (folder / name).write_bytes(ANY)
    return folder


def indexed(root: Path, text: str, **given: str) -> Index:
    table = root.parent / "labels.csv"
    table.write_text(text, encoding="utf-8")
    return index_table(root, Labels(table, **given))


def rows(index: Index) -> list[tuple[str, str, str]]:
    """(path, class, split) of every file."""
    return [
        (path, index.class_names[label], SPLITS[split])
        for path, label, split in zip(index.paths, index.labels, index.splits, strict=True)
    ]


PLAIN = "file,label\nb.jpg,cat\na.jpg,dog\nmore/d.jpg,cat\n"


def test_a_table_names_the_classes_and_its_order_does_not_matter(root: Path) -> None:
    found = indexed(root, PLAIN)
    assert rows(found) == [("b.jpg", "cat", ""), ("more/d.jpg", "cat", ""), ("a.jpg", "dog", "")]
    assert found.class_names == ("cat", "dog")
    assert rows(indexed(root, "label,file\ncat,more/d.jpg\ndog,a.jpg\ncat,b.jpg\n")) == rows(found)


def test_images_and_rows_without_the_other_are_named(root: Path) -> None:
    found = indexed(root, PLAIN + "gone.jpg,cat\n,dog\n")
    (root / "notes.txt").touch()
    assert found.missing == ("gone.jpg", "a row without a path")
    assert found.unlisted == ("c.jpg", "more/e.PNG")


def test_rows_that_contradict_each_other_or_have_no_class_are_left_out_and_named(root: Path) -> None:
    found = indexed(root, PLAIN + "a.jpg,dog\n./a.jpg, dog\nc.jpg,\nmore/e.PNG,cat\ne,dog\n")
    assert rows(found) == [("b.jpg", "cat", ""), ("more/d.jpg", "cat", ""), ("a.jpg", "dog", "")]
    assert found.left_out == {
        "c.jpg": "its row in the table has no class",
        "more/e.PNG": "rows of the table say different things: cat and dog",
    }
    assert found.unlisted == ()


def test_splits_of_a_table_are_kept_and_what_has_none_is_to_be_divided(root: Path) -> None:
    text = "file,label,fold\na.jpg,cat,Training\nb.jpg,dog,valid\nc.jpg,cat,TEST\nd.jpg,dog,\n"
    assert rows(indexed(root, text)) == [
        ("more/d.jpg", "dog", ""),
        ("c.jpg", "cat", "test"),
        ("a.jpg", "cat", "train"),
        ("b.jpg", "dog", "val"),
    ]


def test_a_split_that_is_none_is_refused_where_its_column_was_named(root: Path) -> None:
    text = "file,label,fold\na.jpg,cat,0\nb.jpg,dog,1\n"
    assert {split for *_, split in rows(indexed(root, text))} == {""}
    with pytest.raises(BadLabels, match=r"has the split '[01]' in column fold\. Accepted are train, val .* and test"):
        indexed(root, text, split_column="fold")


def test_labels_may_be_numbers_with_names_or_without(root: Path) -> None:
    text = "file,label\na.jpg,0.0\nb.jpg,1.0\nc.jpg,\n"
    assert indexed(root, text).class_names == ("0", "1")
    names = root.parent / "names.txt"
    names.write_text("dog\ncat\nbird\n")
    found = indexed(root, text, class_names=names)
    assert rows(found) == [("b.jpg", "cat", ""), ("a.jpg", "dog", "")]
    assert "names.txt: 2 of its 3 classes are in the table" in found.notes
    names.write_text("dog\n")
    with pytest.raises(BadLabels, match=r"The label 1 of labels\.csv has no name"):
        indexed(root, text, class_names=names)


def test_classes_may_be_one_hot(root: Path) -> None:
    found = indexed(root, "image,MEL,NV\na,1.0,0.0\nb,0.0,1.0\nc,0.0,0.0\n")
    assert rows(found) == [("a.jpg", "MEL", ""), ("b.jpg", "NV", "")]
    assert found.left_out == {"c.jpg": "its row in the table has no class"}
    assert "one-hot columns MEL to NV" in found.notes[0]


def test_a_table_without_a_header_is_read_by_position(root: Path) -> None:
    found = indexed(root, "cat;a.jpg;train\ndog;b.jpg;test\n")
    assert rows(found) == [("b.jpg", "dog", "test"), ("a.jpg", "cat", "train")]
    assert found.notes[0] == "labels.csv: its first line names an image, so that its columns are called 1, 2, ..."
    assert rows(indexed(root, "cat;a.jpg;dog\ndog;b.jpg;cat\n", label_column="3")) == [
        ("b.jpg", "cat", ""),
        ("a.jpg", "dog", ""),
    ]


def test_paths_may_be_relative_to_the_tables_folder_which_is_said(root: Path) -> None:
    found = indexed(root, "file,label\nimages/a.jpg,cat\nimages/more/d.jpg,dog\n")
    assert rows(found) == [("a.jpg", "cat", ""), ("more/d.jpg", "dog", "")]
    assert found.notes[1] == f"labels.csv: its paths are relative to {root.parent}, and not to {root}"


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "https://example.com/a.jpg"])
def test_a_path_that_leaves_the_folder_is_refused(root: Path, path: str) -> None:
    (root.parent / "secret.jpg").write_bytes(ANY)
    with pytest.raises(OutsideFolder, match=r"The table names "):
        indexed(root, f"{PLAIN}{path},cat\n")


def test_a_table_of_other_images_is_refused_with_examples(root: Path) -> None:
    with pytest.raises(
        BadLabels, match=r"None of the 2 files that labels\.csv names \(x\.jpg, y\.jpg\) is in .*images"
    ):
        indexed(root, "file,label\nx.jpg,cat\ny.jpg,dog\n")
    with pytest.raises(BadLabels, match=r"gives no image a class that can be used: a\.jpg \(rows of the table say"):
        indexed(root, "file,label\na.jpg,cat\na.jpg,dog\n")
    with pytest.raises(BadLabels, match=r"labels\.csv has a first line and no rows"):
        indexed(root, "file,label\n")
    with pytest.raises(BadLabels, match=r"names one class only, 'cat'"):
        indexed(root, "file,label\na.jpg,cat\n")
    with pytest.raises(BadLabels, match=r"has a class that cannot be one\. The class name 'cat/dog' has a slash"):
        indexed(root, "file,label\na.jpg,cat/dog\nb.jpg,cat\n")


def test_a_group_column_numbers_the_groups(root: Path) -> None:
    found = indexed(root, "file,label,who\na.jpg,cat,7\nb.jpg,dog,\nc.jpg,cat,9\nd,dog,7\n", group_column="who")
    assert found.groups is not None
    groups = {path: int(group) for path, group in zip(found.paths, found.groups, strict=True)}
    assert groups["a.jpg"] == groups["more/d.jpg"] != groups["c.jpg"]
    assert groups["b.jpg"] == -1
    assert indexed(root, PLAIN).groups is None
    with pytest.raises(BadLabels, match=r"The column 'who' of labels\.csv, by which to group images, is empty"):
        indexed(root, "file,label,who\na.jpg,cat,\nb.jpg,dog,\n", group_column="who")


def test_further_folders_add_images_of_their_classes(root: Path, tmp_path: Path) -> None:
    more = write_folder(tmp_path / "told", {"cat": [ANY], "eel": [ANY]}, suffix=".jpg")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,who\na.jpg,cat,7\nb.jpg,dog,7\n")
    found = index_table(root, Labels(table, group_column="who"), [more])
    assert rows(found) == [
        ("images/a.jpg", "cat", ""),
        ("told/cat/000.jpg", "cat", ""),
        ("images/b.jpg", "dog", ""),
        ("told/eel/000.jpg", "eel", ""),
    ]
    assert found.groups is not None
    assert found.groups.tolist() == [0, -1, 0, -1]
    assert all((found.root / path).is_file() for path in found.paths)
