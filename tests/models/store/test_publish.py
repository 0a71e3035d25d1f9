"""Versions appear complete and upward; the live pointer says which one answers."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from models.bundle.manifest import MANIFEST, BrokenBundle, verify
from models.store.layout import list_models, list_versions
from models.store.live import LivePointer, read_live, set_live
from models.store.origin import STAGING_PREFIX, replace
from models.store.publish import publish
from tests.bundles import NETWORK, edit_manifest, verified_versions


def history(home: Path) -> list[int]:
    """Which versions went live, oldest first."""
    return [json.loads(line)["live"] for line in (home / "history.jsonl").read_text().splitlines()]


def test_versions_are_numbered_upward_and_the_newest_is_live(bundle: Path, exports: Path) -> None:
    assert [publish(bundle, exports) for _ in range(3)] == [1, 2, 3]
    assert verified_versions(exports / "toy") == [1, 2, 3]
    assert read_live(exports / "toy") == LivePointer(live=3, previous=2)
    assert history(exports / "toy") == [1, 2, 3]
    assert list_models(exports) == ["toy"]


def test_the_published_bundle_is_the_one_that_was_exported(bundle: Path, exports: Path) -> None:
    publish(bundle, exports)
    assert verify(exports / "toy" / "1") == verify(bundle)
    assert (exports / "toy" / "1" / "saved_model.pb").read_bytes() == NETWORK


def test_other_users_may_read_what_is_published(bundle: Path, exports: Path) -> None:
    publish(bundle, exports)
    folders = [path for path in (exports / "toy" / "1").rglob("*") if path.is_dir()]
    assert all(path.stat().st_mode & 0o055 == 0o055 for path in [exports / "toy" / "1", *folders])
    assert (exports / "toy" / "live.json").stat().st_mode & 0o044 == 0o044


def test_a_version_can_be_published_without_going_live(bundle: Path, exports: Path) -> None:
    publish(bundle, exports)
    assert publish(bundle, exports, make_live=False) == 2
    assert read_live(exports / "toy") == LivePointer(live=1)


@pytest.mark.parametrize("live", [True, False], ids=["live", "not live"])
def test_a_number_is_never_used_twice_even_if_its_version_was_deleted(bundle: Path, exports: Path, live: bool) -> None:
    publish(bundle, exports)
    publish(bundle, exports, make_live=live)
    shutil.rmtree(exports / "toy" / "2")
    assert publish(bundle, exports) == 3


def test_names_that_are_no_versions_are_not_taken_for_some(exports: Path) -> None:
    for name in ("0", "01", "1.5", "-1", "²", "latest", ".staging-3", "9" * 19):
        (exports / "toy" / name).mkdir(parents=True)
    (exports / "toy" / "7").write_text("a file")
    assert list_versions(exports / "toy") == []


def test_rolling_back_swaps_live_and_previous(bundle: Path, exports: Path) -> None:
    for _ in range(2):
        publish(bundle, exports)
    set_live(exports, "toy", 1)
    assert read_live(exports / "toy") == LivePointer(live=1, previous=2)
    set_live(exports, "toy", 1)
    assert read_live(exports / "toy") == LivePointer(live=1, previous=2)
    assert history(exports / "toy") == [1, 2, 1, 1]


def test_a_version_that_is_missing_or_broken_does_not_go_live(bundle: Path, exports: Path) -> None:
    for _ in range(2):
        publish(bundle, exports)
    (exports / "toy" / "1" / "saved_model.pb").write_bytes(b"another network")
    for version in (1, 9):
        with pytest.raises(BrokenBundle):
            set_live(exports, "toy", version)
    assert read_live(exports / "toy") == LivePointer(live=2, previous=1)


def test_without_a_pointer_the_newest_version_is_live(bundle: Path, exports: Path) -> None:
    for _ in range(2):
        publish(bundle, exports)
    (exports / "toy" / "live.json").unlink()
    assert read_live(exports / "toy") == LivePointer(live=2)
    assert read_live(exports / "nothing") == LivePointer()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"alive": 1}', "[" * 100_000], ids=lambda content: content[:12])
def test_a_pointer_that_cannot_be_read_is_an_error_and_not_no_pointer(exports: Path, content: str) -> None:
    (exports / "toy").mkdir(parents=True)
    (exports / "toy" / "live.json").write_text(content)
    with pytest.raises(BrokenBundle, match="with the number of a good version"):
        read_live(exports / "toy")


def test_a_broken_bundle_is_not_published(bundle: Path, exports: Path) -> None:
    (bundle / "saved_model.pb").write_bytes(b"")
    with pytest.raises(BrokenBundle, match=r"altered saved_model\.pb"):
        publish(bundle, exports)
    assert visible(exports / "toy") == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../evil", "a/b", "Upper", "-dash", "a b", "a\n", "é", "a" * 65, "a\0"]
)
def test_a_name_that_is_no_plain_word_is_refused(bundle: Path, exports: Path, name: str) -> None:
    edit_manifest(bundle, model=name)
    with pytest.raises(ValueError, match="No model can be called"):
        publish(bundle, exports)
    with pytest.raises(ValueError, match="No model can be called"):
        set_live(exports, name, 1)
    assert not exports.exists()


def test_what_killed_publishes_left_is_removed(bundle: Path, exports: Path) -> None:
    home = exports / "toy"
    shutil.copytree(bundle, home / f"{STAGING_PREFIX}killed")
    (home / ".live.json-killed").touch()
    publish(bundle, exports)
    assert visible(home) == ["1", "history.jsonl", "live.json"]


def test_a_first_version_that_is_not_to_be_live_is_not(bundle: Path, exports: Path) -> None:
    assert publish(bundle, exports, make_live=False) == 1
    assert read_live(exports / "toy").live is None
    assert publish(bundle, exports) == 2
    assert read_live(exports / "toy").live == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_while_copying_leaves_nothing(
    bundle: Path, exports: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    publish(bundle, exports)
    before = visible(exports / "toy")

    def fail(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:5])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            publish(bundle, exports)
    assert visible(exports / "toy") == before
    assert read_live(exports / "toy") == LivePointer(live=1)
    assert publish(bundle, exports) == 2


def test_a_disk_that_is_full_for_the_pointer_leaves_the_old_one(
    bundle: Path, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bundle, exports)

    def fail(path: Path, data: bytes) -> None:
        if path.name == "live.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(path, data)

    with monkeypatch.context() as patch:
        patch.setattr("models.store.origin.replace", fail)
        with pytest.raises(OSError, match="No space left"):
            publish(bundle, exports)
    assert read_live(exports / "toy") == LivePointer(live=1)
    assert verified_versions(exports / "toy") == [1, 2]


def test_a_history_line_cut_short_does_not_swallow_the_next(bundle: Path, exports: Path) -> None:
    publish(bundle, exports)
    with (exports / "toy" / "history.jsonl").open("a") as file:
        file.write('{"at": "2026-')
    publish(bundle, exports)
    assert json.loads((exports / "toy" / "history.jsonl").read_text().splitlines()[-1])["live"] == 2


@pytest.mark.parametrize("line", ["5", "{}"])
def test_a_history_that_somebody_edited_does_not_stop_publishing(bundle: Path, exports: Path, line: str) -> None:
    publish(bundle, exports)
    with (exports / "toy" / "history.jsonl").open("a") as file:
        file.write(line + "\n")
    assert publish(bundle, exports) == 2


def test_the_manifest_is_what_makes_a_bundle_publishable(bundle: Path, exports: Path) -> None:
    (bundle / MANIFEST).unlink()
    with pytest.raises(BrokenBundle, match=r"has no manifest\.json"):
        publish(bundle, exports)
    assert not exports.exists()


def visible(home: Path) -> list[str]:
    """Everything in `exports/<model>` but hidden files, such as the lock."""
    return sorted(path.name for path in home.iterdir() if path.is_dir() or not path.name.startswith("."))
