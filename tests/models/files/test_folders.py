"""The walk over people's folders: links, loops, leftovers of operating systems, and what may not be read."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.files.folders import UnreadableFolder, files_below, subfolders

NOBODY = 65534


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


class Noted(dict[str, str]):
    """What a walk leaves out, by the end of its path."""

    def __call__(self, path: str, reason: str) -> None:
        self[Path(path).name] = reason


@contextlib.contextmanager
def not_as_root() -> Iterator[None]:
    """Root may read everything; so a test of permissions has to be somebody else."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_link_to_a_folder_is_followed_at_every_level(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", "1.png", "deep/2.png")
    root = make(tmp_path / "root", "cat/0.png")
    (root / "dog").symlink_to(elsewhere)
    (root / "cat" / "more").symlink_to(elsewhere / "deep")
    assert [path.name for path in subfolders(root)] == ["cat", "dog"]
    assert list(files_below(root / "cat", root)) == ["cat/0.png", "cat/more/2.png"]
    assert list(files_below(root / "dog", root)) == ["dog/1.png", "dog/deep/2.png"]


def test_a_folder_that_several_links_lead_to_is_read_once_and_the_others_are_named(tmp_path: Path) -> None:
    root, noted = make(tmp_path, "a/0.png", "a/deep/1.png"), Noted()
    (root / "b").symlink_to(root / "a")
    (root / "a" / "deep" / "c").symlink_to(root / "a")
    assert list(files_below(root, root, noted)) == ["a/0.png", "a/deep/1.png"]
    assert noted.keys() == {"b", "c"}


def test_a_link_to_a_folder_above_ends_there_and_is_named(tmp_path: Path) -> None:
    """It would bring the images of all classes into one."""
    root, noted = make(tmp_path, "data/cat/0.png", "data/dog/1.png"), Noted()
    (root / "data" / "cat" / "up").symlink_to(root / "data")
    (root / "data" / "whole").symlink_to(root)
    assert list(files_below(root / "data" / "cat", root, noted)) == ["data/cat/0.png"]
    assert [path.name for path in subfolders(root / "data", noted)] == ["cat", "dog"]
    assert noted.keys() == {"up", "whole"}


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    root, noted = make(tmp_path, "0.png"), Noted()
    (root / "gone").symlink_to(root / "nowhere")
    (root / "itself").symlink_to(root / "itself")
    (root / "below a file").symlink_to(root / "0.png" / "x")
    assert list(files_below(root, root, noted)) == ["0.png"]
    assert noted == dict.fromkeys(("gone", "itself", "below a file"), "a link that leads nowhere")


@pytest.mark.parametrize(
    "leftover",
    [
        *("__MACOSX/cat/._0.png", ".ipynb_checkpoints/0.png", ".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini"),
        *("lost+found/0", "@eaDir/0.png", "cat/__MACOSX/0.png", "cat/Desktop.ini"),
    ],
)
def test_what_operating_systems_leave_behind_is_passed_over(tmp_path: Path, leftover: str) -> None:
    root, noted = make(tmp_path, "cat/0.png", leftover), Noted()
    assert list(files_below(root, root, noted)) == ["cat/0.png"]
    assert [path.name for path in subfolders(root, noted)] == ["cat"]
    assert not noted


@pytest.mark.parametrize("mode", [0o000, 0o311], ids=["no right at all", "no right to list"])
def test_a_folder_that_cannot_be_listed_is_an_error_that_names_it(open_folder: Path, mode: int) -> None:
    root = make(open_folder, "cat/0.png", "dog/deep/1.png")
    (root / "dog" / "deep").chmod(mode)
    with not_as_root(), pytest.raises(UnreadableFolder, match=r"dog/deep cannot be read \(Permission denied\)"):
        list(files_below(root, root))


def test_a_link_into_a_folder_that_may_not_be_entered_is_an_error_that_names_it(open_folder: Path) -> None:
    make(open_folder, "closed/dog/1.png", "root/cat/0.png")
    (open_folder / "closed").chmod(0)
    (open_folder / "root" / "dog").symlink_to(open_folder / "closed" / "dog")
    with not_as_root(), pytest.raises(UnreadableFolder, match=r"root/dog cannot be read \(Permission denied\)"):
        subfolders(open_folder / "root")
    (open_folder / "closed").chmod(0o700)


def test_a_folder_that_is_removed_meanwhile_is_no_error(tmp_path: Path) -> None:
    root = make(tmp_path, "a/0.png", "b/1.png", "c/2.png")
    found = files_below(root, root)
    assert next(found) == "a/0.png"
    for name in ("b", "c"):
        for path in (root / name).iterdir():
            path.unlink()
        (root / name).rmdir()
    assert list(found) == []
