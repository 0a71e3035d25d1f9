"""Which files are images of what: folders as people really keep them."""

import os
import unicodedata
from pathlib import Path

import pytest

from tests.images import write_folder
from training.data.index import SPLITS, BadData, Index, check_apart, index_folder

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
    assert index_folder(root).left_out.keys() == {"loop", "cat/loop"}


def test_a_class_folder_may_be_a_link(root: Path, tmp_path: Path) -> None:
    """It was passed over, so that a folder of links was trained on without them, or called empty."""
    write_folder(tmp_path / "elsewhere", {"eel": ANY * 2})
    (root / "eel").symlink_to(tmp_path / "elsewhere" / "eel")
    (root / "dog" / "more").symlink_to(tmp_path / "elsewhere" / "eel")
    index = index_folder(root)
    assert index.class_names == ("cat", "dog", "eel")
    assert [path for path, name, _ in names(index) if name != "cat"] == [
        *("dog/000.jpg", "dog/more/000.png", "dog/more/001.png"),
        *("eel/000.png", "eel/001.png"),
    ]


def test_only_plain_files_count(root: Path) -> None:
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "broken.jpg").symlink_to(root / "nowhere")
    assert len(index_folder(root).paths) == 2


def test_a_link_to_a_file_is_a_file(root: Path) -> None:
    (root / "cat" / "link.jpg").symlink_to(root / "dog" / "000.jpg")
    assert ("cat/link.jpg", "cat", "") in names(index_folder(root))


def test_a_class_folder_without_files_and_a_link_that_leads_nowhere_are_named(root: Path) -> None:
    (root / "bird" / "2024").mkdir(parents=True)
    (root / "bird" / ".hidden").touch()
    (root / "eel").symlink_to(root / "nowhere")
    index = index_folder(root)
    assert index.class_names == ("cat", "dog")
    assert index.left_out == {"bird": "a class folder without any file", "eel": "a link that leads nowhere"}


def test_files_beside_the_class_folders_are_no_images_and_those_that_matter_are_named(root: Path) -> None:
    for name in ("README.md", "1.jpg", "2.PNG", "labels.csv"):
        (root / name).touch()
    index = index_folder(root)
    assert len(index.paths) == 2
    assert index.left_out == {
        "*": "2 images that lie in no class folder",
        "labels.csv": "a table, which is not read without --labels",
    }


def test_a_name_in_two_unicode_forms_is_one_class(tmp_path: Path) -> None:
    """macOS writes the accent as a character of its own: copied together with others, each name was two classes."""
    for form in ("NFC", "NFD"):
        write_folder(tmp_path / form, {unicodedata.normalize(form, name): ANY for name in ("café", "thé")})
        write_folder(tmp_path / "both", {unicodedata.normalize(form, name): ANY for name in ("café", "thé")})
    assert index_folder(tmp_path / "both").class_names == ("café", "thé")
    assert len(index_folder(tmp_path / "both").paths) == 4
    index = index_folder(tmp_path / "NFC", [tmp_path / "NFD"])
    assert index.class_names == ("café", "thé")
    assert all((index.root / path).is_file() for path in index.paths)


def test_a_class_name_with_a_line_break_is_an_error_since_labels_are_lines(root: Path) -> None:
    write_folder(root, {"two\nlines": ANY})
    with pytest.raises(BadData, match=r"A folder in .*animals cannot be a class\. .* control character"):
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
    with pytest.raises(BadData, match="contains the other"):
        index_folder(root, [root / "cat"])


@pytest.mark.parametrize("inside", ["runs", "cat/runs", "."])
def test_a_folder_that_is_written_into_may_not_lie_among_the_images(root: Path, inside: str) -> None:
    """The files of the first run were images of a class on the second."""
    with pytest.raises(BadData, match=r"folder .* of --runs (lies in|is) the folder of images .*Set --runs to"):
        check_apart(root, ("--cache", root / ".cache"), ("--runs", root / inside))


def test_a_hidden_folder_among_the_images_or_one_beside_them_may_be_written_into(root: Path) -> None:
    beside = root.with_name("animals-runs")
    check_apart(root, ("--cache", root / ".cache"), ("--runs", root / ".striate" / "runs"), ("--exports", beside))


def test_a_link_cannot_hide_that_a_folder_lies_among_the_images(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(BadData, match="--runs"):
        check_apart(root, ("--runs", tmp_path / "link" / "runs"))
