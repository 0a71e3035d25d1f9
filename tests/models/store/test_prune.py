import json
from pathlib import Path

import pytest

from models.bundle.manifest import MANIFEST
from models.store import prune as pruning
from models.store.layout import list_versions, record_of
from models.store.live import set_canary, set_live, set_shadow
from models.store.mirror import Mirror
from models.store.origin import mirror_folder
from models.store.prune import Retention, choose, prune
from models.store.publish import publish
from tests.bundles import make_bundle
from tests.object_store import Bucket

DAY = 86_400.0


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def exports(bundle: Path, tmp_path: Path) -> Path:
    """With six versions, of which the first is live."""
    for _ in range(6):
        publish(bundle, tmp_path / "exports", make_live=False)
    set_live(tmp_path / "exports", "toy", 1)
    return tmp_path / "exports"


def test_the_newest_stay_and_whatever_has_a_part(exports: Path) -> None:
    set_canary(exports, "toy", 2, 0.5)
    set_shadow(exports, "toy", 3)
    found = prune(exports, Retention(versions=1))
    assert [(each.version, each.reason) for each in found] == [
        (4, "2 newer versions are kept"),
        (5, "1 newer versions are kept"),
    ]
    assert list_versions(exports / "toy") == [1, 2, 3, 6]


@pytest.mark.parametrize(
    ("retention", "doomed"),
    [
        (Retention(versions=2), [1, 2]),
        (Retention(days=2.5), [1]),
        (Retention(num_bytes=20), [1, 2]),
        (Retention(num_bytes=9), [1, 2, 4]),  # 3 is needed
        (Retention(versions=3, days=2.5, num_bytes=100), [1]),
    ],
)
def test_each_limit_deletes_the_oldest(retention: Retention, doomed: list[int]) -> None:
    sizes = dict.fromkeys((1, 2, 3, 4), 10)
    made = {version: 100 * DAY - (4 - version) * DAY for version in sizes}
    found = choose(retention, sizes, made, {3}, 100 * DAY)
    assert [version for version, _ in found] == doomed


def test_what_an_unfinished_job_compares_with_stays(exports: Path) -> None:
    (exports / "toy" / "retrain").mkdir()
    (exports / "toy" / "retrain" / "unfinished.json").write_text(json.dumps({"champion": 3, "job": "x", "run": None}))
    prune(exports, Retention(versions=1))
    assert list_versions(exports / "toy") == [1, 3, 6]


def test_the_record_of_a_deleted_version_stays(exports: Path) -> None:
    prune(exports, Retention(versions=1))
    assert (record_of(exports / "toy", 2) / MANIFEST).exists()
    assert not (record_of(exports / "toy", 2) / "saved_model.pb").exists()


def test_a_dry_run_deletes_nothing(exports: Path) -> None:
    assert len(prune(exports, Retention(versions=1), dry=True)) == 4
    assert list_versions(exports / "toy") == [1, 2, 3, 4, 5, 6]


def test_a_number_is_not_used_again_after_pruning(exports: Path, bundle: Path) -> None:
    set_live(exports, "toy", 6)
    set_live(exports, "toy", 5)
    prune(exports, Retention(versions=1))
    assert publish(bundle, exports) == 7


def test_an_object_store_is_pruned_with_what_was_cut_off_there(
    bundle: Path, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = mirror_folder(bucket.address, tmp_path / "ours")
    for _ in range(3):
        publish(bundle, ours)
    bucket.put("toy/9/saved_model.pb", b"half")
    prune(ours, Retention(versions=1))
    assert bucket.keys("toy/9/")  # it may be under way
    monkeypatch.setattr(pruning, "CUT_OFF_S", -10)
    prune(ours, Retention(versions=1))
    assert not bucket.keys("toy/9/")
    assert not bucket.keys("toy/1/")
    assert bucket.keys("toy/pruned/1/") == [f"toy/pruned/1/{path}" for path in sorted(kept(ours / "toy"))]
    theirs = mirror_folder(bucket.address, tmp_path / "theirs")
    Mirror(theirs).pull(listing=True)
    assert list_versions(theirs / "toy") == [2, 3]


def kept(home: Path) -> list[str]:
    record = home / "pruned" / "1"
    return [path.relative_to(record).as_posix() for path in record.rglob("*") if path.is_file()]
