"""Which file a table means."""

import unicodedata
from pathlib import Path

import pytest

from training.sources.file_finder import FileFinder, OutsideFolder

ROOT = Path("/data/images")
PATHS = ["a.jpg", "train/b.jpg", "train/deep/c.png", "d.jpg", "other/d.jpg", "e.jpg", "e.txt", "back\\slash.jpg"]


@pytest.fixture
def files() -> FileFinder:
    return FileFinder(ROOT, [*PATHS, unicodedata.normalize("NFD", "café.jpg")], {".jpg", ".png"})


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("a.jpg", ["a.jpg"]),
        ("./train//b.jpg", ["train/b.jpg"]),
        ("train\\deep\\c.png", ["train/deep/c.png"]),
        ("back\\slash.jpg", ["back\\slash.jpg"]),
        ("train/../a.jpg", ["a.jpg"]),
        ("/data/images/train/b.jpg", ["train/b.jpg"]),
        ("a", ["a.jpg"]),
        ("train/deep/c", ["train/deep/c.png"]),
        ("c", ["train/deep/c.png"]),
        ("b.jpg", ["train/b.jpg"]),
        ("d.jpg", ["d.jpg"]),
        ("d", ["d.jpg", "other/d.jpg"]),
        ("e", ["e.jpg"]),
        ("deep/c.png", []),
        ("nowhere.jpg", []),
    ],
)
def test_a_file_is_found_by_its_path_its_name_or_its_stem(files: FileFinder, said: str, meant: list[str]) -> None:
    assert files.find(said, ROOT) == meant


def test_names_are_compared_in_one_unicode_form(files: FileFinder) -> None:
    assert files.find("café.jpg", ROOT) == [unicodedata.normalize("NFD", "café.jpg")]


def test_paths_may_be_relative_to_a_folder_above_or_below(files: FileFinder) -> None:
    assert files.find("images/a.jpg", Path("/data")) == ["a.jpg"]
    assert files.find("../a.jpg", ROOT / "train") == ["a.jpg"]
    assert files.find("b.jpg", ROOT / "train") == ["train/b.jpg"]


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("../secret.jpg", r"names \.\./secret\.jpg, which does not lie in the folder of the images /data/images"),
        ("train/../../secret.jpg", "does not lie in"),
        ("..\\secret.jpg", "does not lie in"),
        ("/etc/passwd", "does not lie in"),
        ("/etc\0/passwd", "does not lie in"),
        ("/data/images-2/a.jpg", "does not lie in"),
        ("C:\\images\\a.jpg", "does not lie in"),
        (
            "https://example.com/a.jpg",
            r"names https://example\.com/a\.jpg\. Addresses are not read: download the images",
        ),
    ],
)
def test_nothing_outside_of_the_folder_is_found(files: FileFinder, said: str, complaint: str) -> None:
    with pytest.raises(OutsideFolder, match=complaint):
        files.find(said, ROOT)
    assert not files.names_a_file(said, [ROOT])


def test_an_absolute_path_over_a_link_is_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files = FileFinder(tmp_path / "real", ["a.jpg"], {".jpg"})
    assert files.find(str(tmp_path / "link" / "a.jpg"), tmp_path / "real") == ["a.jpg"]
