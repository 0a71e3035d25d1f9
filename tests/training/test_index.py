"""Which files are images of what: folders as people really keep them."""

import os
from pathlib import Path

import pytest

from tests.images import write_folder
from training.index import SPLITS, BadData, Index, index_folder

ANY = (b"anything",)  # the index reads no file


def names(index: Index) -> list[tuple[str, str, str]]:
    """(path below the root, class, split) of every file."""
    return [
        (path, index.class_names[label], SPLITS[split])
        for path, label, split in zip(index.paths, index.labels, index.splits, strict=True)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of two classes with a file each."""
    return write_folder(tmp_path / "animals", {"cat": ANY, "dog": ANY}, suffix=".jpg")


def test_a_folder_per_class_gives_a_class_per_folder(root: Path) -> None:
    index = index_folder(root)
    assert index.class_names == ("cat", "dog")
    assert names(index) == [("cat/000.jpg", "cat", ""), ("dog/000.jpg", "dog", "")]


def test_classes_are_sorted_by_code_point_and_may_be_in_any_language(tmp_path: Path) -> None:
    write_folder(tmp_path, dict.fromkeys(("zebra", "Äffchen", "Zorilla", "猫", "10", "9", "big cat"), ANY))
    assert index_folder(tmp_path).class_names == ("10", "9", "Zorilla", "big cat", "zebra", "Äffchen", "猫")


def test_the_order_does_not_depend_on_the_file_system(root: Path) -> None:
    for name in ("b.jpg", "a.jpg", "c.jpg"):
        (root / "cat" / name).touch()
    assert [name for name, *_ in names(index_folder(root))][:4] == [f"cat/{n}.jpg" for n in ("000", "a", "b", "c")]


def test_files_in_folders_within_a_class_belong_to_it(root: Path) -> None:
    (root / "cat" / "2024" / "may").mkdir(parents=True)
    (root / "cat" / "2024" / "may" / "tom.png").touch()
    assert ("cat/2024/may/tom.png", "cat", "") in names(index_folder(root))


@pytest.mark.parametrize(
    "name", ["new\nline.jpg", "tab\t.jpg", "größe 猫.jpg", "no extension", "a.txt", os.fsdecode(b"\xff.jpg")]
)
def test_a_file_may_have_any_name(root: Path, name: str) -> None:
    (root / "cat" / name).touch()
    assert f"cat/{name}" in [path for path, *_ in names(index_folder(root))]


def test_hidden_files_and_folders_are_passed_over(root: Path) -> None:
    for path in (root / "cat" / ".DS_Store", root / ".git" / "HEAD", root / "cat" / ".thumbnails" / "a.jpg"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert len(index_folder(root).paths) == 2


def test_a_loop_of_links_ends(root: Path) -> None:
    (root / "cat" / "loop").symlink_to(root)
    (root / "loop").symlink_to(root)
    assert index_folder(root).class_names == ("cat", "dog")
    assert len(index_folder(root).paths) == 2


def test_only_plain_files_count(root: Path) -> None:
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "broken.jpg").symlink_to(root / "nowhere")
    assert len(index_folder(root).paths) == 2


def test_a_link_to_a_file_is_a_file(root: Path) -> None:
    (root / "cat" / "link.jpg").symlink_to(root / "dog" / "000.jpg")
    assert ("cat/link.jpg", "cat", "") in names(index_folder(root))


def test_an_empty_folder_is_no_class(root: Path) -> None:
    (root / "bird").mkdir()
    assert index_folder(root).class_names == ("cat", "dog")


def test_files_beside_the_class_folders_are_no_images(root: Path) -> None:
    (root / "README.md").touch()
    assert len(index_folder(root).paths) == 2


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val", "test"), ["test", "train", "val"]),
        (("train", "valid"), ["train", "val"]),
        (("Train", "Validation", "Test"), ["test", "train", "val"]),
        (("train", "test"), ["test", "train"]),
    ],
)
def test_a_folder_that_is_split_already_keeps_its_split(
    tmp_path: Path, folders: tuple[str, ...], splits: list[str]
) -> None:
    for folder in folders:
        write_folder(tmp_path / folder, {"cat": ANY, "dog": ANY})
    index = index_folder(tmp_path)
    assert index.class_names == ("cat", "dog")
    assert sorted({SPLITS[split] for split in index.splits}) == splits


def test_a_class_that_only_the_test_folder_has_is_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": ANY, "dog": ANY})
    write_folder(tmp_path / "test", {"bird": ANY, "dog": ANY})
    assert index_folder(tmp_path).class_names == ("bird", "cat", "dog")


@pytest.mark.parametrize("second", ["valid", "Val"])
def test_two_folders_of_the_same_split_are_both_read(tmp_path: Path, second: str) -> None:
    for folder in ("train", "val", second):
        write_folder(tmp_path / folder, {"cat": ANY, "dog": ANY})
    val = {path for path, _, split in names(index_folder(tmp_path)) if split == "val"}
    assert val == {f"{folder}/{name}/000.png" for folder in ("val", second) for name in ("cat", "dog")}


def test_a_class_may_be_called_train_where_the_others_are_no_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": ANY, "bus": ANY})
    assert index_folder(tmp_path).class_names == ("bus", "train")


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"nowhere is no folder\. Give a folder"):
        index_folder(tmp_path / "nowhere")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(BadData, match=r"no folder with files in it\. Give a folder"):
        index_folder(tmp_path)


def test_one_class_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": ANY})
    with pytest.raises(BadData, match=r"one class only, 'cat'\. Give a folder"):
        index_folder(tmp_path)


def test_a_wrapper_around_the_class_folders_is_pointed_out(tmp_path: Path) -> None:
    write_folder(tmp_path / "animals", {"cat": ANY, "dog": ANY})
    with pytest.raises(BadData, match=r"It has folders itself \(cat, dog\); is it .*animals you mean\?"):
        index_folder(tmp_path)


def test_a_class_name_with_a_line_break_is_an_error_since_labels_are_lines(root: Path) -> None:
    write_folder(root, {"two\nlines": ANY})
    with pytest.raises(BadData, match="control character"):
        index_folder(root)


def test_further_folders_add_images_and_classes(root: Path, tmp_path: Path) -> None:
    more = write_folder(tmp_path / "told" / "labelled", {"cat": ANY * 2, "eel": ANY}, suffix=".jpg")
    index = index_folder(root, [more, tmp_path / "not there yet"])
    assert index.class_names == ("cat", "dog", "eel")
    assert index.root == tmp_path
    assert ("told/labelled/eel/000.jpg", "eel", "") in names(index)
    assert len(index.paths) == 5
    assert all((index.root / path).is_file() for path in index.paths)


def test_folders_that_lie_in_each_other_are_an_error(root: Path) -> None:
    with pytest.raises(BadData, match="lie in each other"):
        index_folder(root, [root / "cat"])
