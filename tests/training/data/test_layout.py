"""Which folders are classes, which are splits, and what is said where that cannot be told."""

from pathlib import Path

import pytest

from tests.images import write_folder
from training.data.index import SPLITS, BadData, Index, index_folder
from training.sources.split_names import split_of

ANY = (b"anything",)  # no file is read
TWO = {"cat": ANY, "dog": ANY}


def folders(root: Path, *names: str, classes: dict[str, tuple[bytes, ...]] = TWO) -> Path:
    """Folders that have class folders in them."""
    for name in names:
        write_folder(root / name, classes)
    return root


def splits_of(index: Index) -> dict[str, int]:
    """{split: its files}"""
    found = [SPLITS[split] for split in index.splits]
    return {split: found.count(split) for split in sorted(set(found))}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "val", "test"), {"test": 2, "train": 2, "val": 2}),
        (("train", "valid"), {"train": 2, "val": 2}),
        (("Train", "Validation", "Test"), {"test": 2, "train": 2, "val": 2}),
        (("Training", "Testing"), {"test": 2, "train": 2}),
        (("training_set", "test_set"), {"test": 2, "train": 2}),
        (("seg_train", "seg_test"), {"test": 2, "train": 2}),
        (("train_images", "test_images"), {"test": 2, "train": 2}),
        (("TRAIN", "dev", "TEST"), {"test": 2, "train": 2, "val": 2}),
        (("train2017", "val2017"), {"train": 2, "val": 2}),
        (("training", "validation", "evaluation"), {"test": 2, "train": 2, "val": 2}),
        (("train", "val", "valid"), {"train": 2, "val": 4}),
        (("train", "val", "Val"), {"train": 2, "val": 4}),
    ],
)
def test_a_folder_that_is_split_already_keeps_its_split(
    tmp_path: Path, names: tuple[str, ...], splits: dict[str, int]
) -> None:
    index = index_folder(folders(tmp_path, *names))
    assert index.class_names == ("cat", "dog")
    assert splits_of(index) == splits
    assert not index.left_out


@pytest.mark.parametrize("name", ["bird", "testament", "trainer", "value", "device", "contest", "freight train", "été"])
def test_an_ordinary_word_is_no_split(name: str) -> None:
    assert split_of(name) == ""


def test_other_folders_beside_the_splits_are_left_out_and_named(tmp_path: Path) -> None:
    """Beside `pred`, each split was a class."""
    folders(tmp_path, "train", "test", "pred", "__MACOSX", ".ipynb_checkpoints")
    write_folder(tmp_path, {"val": ANY})
    index = index_folder(tmp_path)
    assert splits_of(index) == {"test": 2, "train": 2}
    assert index.left_out == {"pred": "a folder that is none of the splits", "val": "a split without class folders"}


def test_a_class_that_only_the_test_folder_has_is_a_class(tmp_path: Path) -> None:
    folders(tmp_path, "train")
    write_folder(tmp_path / "test", {"bird": ANY, "dog": ANY})
    assert index_folder(tmp_path).class_names == ("bird", "cat", "dog")


def test_a_class_may_be_called_train_where_the_others_are_no_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": ANY, "bus": ANY})
    assert index_folder(tmp_path).class_names == ("bus", "train")


def test_a_class_may_be_called_train_inside_of_splits_as_in_cifar100(tmp_path: Path) -> None:
    index = index_folder(folders(tmp_path, "train", "test", classes={"train": ANY, "tractor": ANY}))
    assert index.class_names == ("tractor", "train")
    assert splits_of(index) == {"test": 2, "train": 2}


@pytest.mark.parametrize(
    "names",
    [("val", "test"), ("asl_alphabet_train", "asl_alphabet_test"), ("my training photos", "my test photos")],
)
def test_splits_without_one_that_is_known_for_training_are_not_taken_for_classes(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(BadData, match=rf"would be {min(names)}, {max(names)}, but these are named like parts"):
        index_folder(folders(tmp_path, *names))


def test_flat_splits_are_not_taken_for_classes_and_a_table_is_pointed_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": ANY, "test": ANY}, suffix=".jpg")
    (tmp_path / "train.csv").touch()
    with pytest.raises(BadData, match=r"would be test, train, but .*There is the table train\.csv\. Without --labels"):
        index_folder(tmp_path)


def test_a_split_among_folders_that_are_none_is_not_taken_for_a_class(tmp_path: Path) -> None:
    folders(tmp_path, "train", "unlabelled")
    with pytest.raises(BadData, match=r"would be train, unlabelled, but train .* has folders itself \(cat, dog\)"):
        index_folder(tmp_path)


@pytest.mark.parametrize("names", [("fold1", "fold2"), ("images", "masks"), ("Lernen", "Prüfen")])
def test_folders_with_the_same_folders_in_them_are_not_taken_for_classes(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(BadData, match=rf"would be {names[0]}, {names[1]}, but .* same folders in them \(cat, dog\)"):
        index_folder(folders(tmp_path, *names))


def test_classes_may_have_folders_in_them(tmp_path: Path) -> None:
    """As ImageNet's small relatives have: cat/images/0.jpg; or folders by year, with images beside them."""
    write_folder(tmp_path / "one", {"cat/images": ANY, "dog/images": ANY})
    assert index_folder(tmp_path / "one").class_names == ("cat", "dog")
    write_folder(tmp_path / "years", {"cat/2023": ANY, "cat/2024": ANY, "dog/2024": ANY})
    assert index_folder(tmp_path / "years").class_names == ("cat", "dog")
    write_folder(tmp_path / "beside", {f"{name}{year}": ANY for name in ("cat", "dog") for year in ("", "/1", "/2")})
    assert index_folder(tmp_path / "beside").class_names == ("cat", "dog")


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"nowhere is no folder\. Give a folder"):
        index_folder(tmp_path / "nowhere")


def test_an_archive_of_a_kind_that_is_not_read_has_to_be_unpacked(tmp_path: Path) -> None:
    for name in ("pets.7z", "pets.rar"):
        (tmp_path / name).write_bytes(b"packed")
        with pytest.raises(
            BadData, match=rf"{name} is an archive that is not read here\. Unpack it, and give the folder"
        ):
            index_folder(tmp_path / name)
    (tmp_path / "pets.7z").unlink()
    with pytest.raises(BadData, match=r"but the archive pets\.rar: give that to --data \(zip or tar\), or unpack it"):
        index_folder(tmp_path)


def test_a_table_is_no_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\n0.jpg,cat\n")
    (tmp_path / "notes").write_text("nothing in particular")
    with pytest.raises(
        BadData, match=r"labels\.csv is a table\. Give the folder of the images, and the table with --labels"
    ):
        index_folder(tmp_path / "labels.csv")
    with pytest.raises(BadData, match=r"notes is a file\. Give a folder"):
        index_folder(tmp_path / "notes")


def test_a_flat_folder_is_told_to_be_sorted_and_a_table_in_it_is_pointed_out(tmp_path: Path) -> None:
    for i in range(7):
        (tmp_path / f"{i}.jpg").touch()
    said = r"no folder with files in it, but 7 images that are not sorted by class \(0\.jpg, .*and 2 more\)\. Give a"
    with pytest.raises(BadData, match=said) as caught:
        index_folder(tmp_path)
    assert "table" not in str(caught.value)
    (tmp_path / "labels.csv").touch()
    with pytest.raises(BadData, match=rf"{said}.* There is the table labels\.csv\. Without --labels"):
        index_folder(tmp_path)


def test_an_empty_folder_is_an_error_that_names_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(BadData, match=r"no folder with files in it\. Left out: cat \(a class folder without any"):
        index_folder(tmp_path)


def test_one_class_is_an_error_that_names_what_was_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": ANY, "dog": ()})
    with pytest.raises(BadData, match=r"one class only, 'cat'\. Left out: dog .*\. Give a folder"):
        index_folder(tmp_path)


def test_a_wrapper_around_the_class_folders_is_pointed_out(tmp_path: Path) -> None:
    folders(tmp_path, "animals")
    with pytest.raises(BadData, match=r"It has folders itself \(cat, dog\); is it .*animals you mean\?"):
        index_folder(tmp_path)
