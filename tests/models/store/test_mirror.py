"""Exports in an object store, asked over HTTP."""

import json
import multiprocessing
from pathlib import Path

import pytest

from models.bundle.manifest import MANIFEST, BrokenBundle, read_manifest, verify, write_manifest
from models.errors import StoreAway
from models.store import mirror as mirrors
from models.store import origin as origins
from models.store import prune as prunes
from models.store.decisions import read_decisions, record_decision
from models.store.default import read_default
from models.store.layout import list_models, list_versions
from models.store.live import LivePointer, LiveVersionChanged, read_live, roll_back, set_live, set_loaded
from models.store.mirror import Mirror, is_whole
from models.store.origin import mirror_folder, new_folder, outline
from models.store.publish import publish
from tests.bundles import make_bundle
from tests.object_store import Bucket, use
from tests.processes import python


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def ours(bucket: Bucket, tmp_path: Path) -> Path:
    return mirror_folder(bucket.address, tmp_path / "ours")


@pytest.fixture
def theirs(bucket: Bucket, tmp_path: Path) -> Path:
    """Another machine's mirror."""
    return mirror_folder(bucket.address, tmp_path / "theirs")


def synchronised(exports: Path) -> Path:
    mirror = Mirror(exports)
    mirror.pull(listing=True)
    assert mirror.fetch() == []
    return exports


def test_what_one_machine_publishes_another_has_whole(bundle: Path, ours: Path, theirs: Path) -> None:
    assert publish(bundle, ours) == 1
    home = synchronised(theirs) / "toy"
    assert read_live(home) == LivePointer(live=1)
    assert verify(home / "1") == verify(bundle)
    assert read_default(theirs) == "toy"
    assert (home / "history.jsonl").read_bytes() == (ours / "toy" / "history.jsonl").read_bytes()


def test_of_versions_without_a_part_only_the_manifest_is_brought(bundle: Path, ours: Path, theirs: Path) -> None:
    for _ in range(3):
        publish(bundle, ours)
    home = synchronised(theirs) / "toy"
    assert [is_whole(home / str(version)) for version in list_versions(home)] == [False, True, True]
    assert (home / "1" / MANIFEST).exists()


def test_two_machines_never_claim_one_number(bundle: Path, ours: Path, theirs: Path) -> None:
    versions = [publish(bundle, exports) for exports in (ours, theirs, theirs, ours)]
    assert versions == [1, 2, 3, 4]


def test_a_version_that_was_removed_does_not_give_its_number_away(bundle: Path, bucket: Bucket, ours: Path) -> None:
    publish(bundle, ours)
    publish(bundle, ours, make_live=False)
    bucket.delete("toy/2/")
    assert publish(bundle, synchronised(mirror_folder(bucket.address, ours.parent / "new"))) == 3


def test_of_two_that_promote_instead_of_the_same_version_one_is_told(bundle: Path, ours: Path, theirs: Path) -> None:
    for _ in range(3):
        publish(bundle, ours, make_live=False)
    set_live(ours, "toy", 1)
    synchronised(theirs)
    set_live(ours, "toy", 2, instead_of=1)
    with pytest.raises(LiveVersionChanged, match=r"Version 2 of toy was made live meanwhile, instead of 1\."):
        set_live(theirs, "toy", 3, instead_of=1)
    assert read_live(theirs / "toy").live == 2


def promote_many(exports: Path, version: int, barrier: "multiprocessing.synchronize.Barrier") -> None:
    barrier.wait(30)
    for _ in range(10):
        set_live(exports, "toy", version)


def test_writers_at_the_same_time_lose_no_change(bundle: Path, bucket: Bucket, ours: Path, theirs: Path) -> None:
    for _ in range(2):
        publish(bundle, ours, make_live=False)
    synchronised(theirs)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    writers = [context.Process(target=promote_many, args=(e, n, barrier)) for e, n in ((ours, 1), (theirs, 2))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    lines = bucket.get("toy/history.jsonl").splitlines()
    assert sorted(json.loads(line)["live"] for line in lines) == 10 * [1] + 10 * [2]


def test_decisions_of_two_machines_are_all_kept(bundle: Path, ours: Path, theirs: Path) -> None:
    publish(bundle, ours)
    synchronised(theirs)
    for number, exports in enumerate((ours, theirs, ours)):
        decision = {"at": str(number), "outcome": "held", "reason": "", "champion": None, "findings": []}
        record_decision(exports / "toy", decision)
    assert [decision["at"] for decision in read_decisions(ours / "toy")] == ["0", "1", "2"]


def test_a_rollback_by_another_machine_arrives(bundle: Path, ours: Path, theirs: Path) -> None:
    publish(bundle, ours)
    publish(bundle, ours)
    mirror = Mirror(synchronised(theirs))
    roll_back(ours, "toy")
    mirror.pull(listing=False)
    assert read_live(theirs / "toy").live == 1


def test_an_upload_that_is_killed_is_seen_by_nobody(bundle: Path, bucket: Bucket, ours: Path, theirs: Path) -> None:
    publish(bundle, ours)

    def die(step: str) -> None:
        if step == "sent":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(bundle, ours, on_step=die)
    assert bucket.keys("toy/2/")
    assert list_versions(synchronised(theirs) / "toy") == [1]
    assert publish(bundle, theirs) == 3


def test_an_answer_that_is_cut_short_is_asked_for_again(
    bundle: Path, bucket: Bucket, ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bundle, ours)
    bucket.cut = 3
    mirror = Mirror(theirs)
    for _ in range(4):
        try:
            mirror.pull(listing=True)
            break
        except StoreAway:
            continue
    monkeypatch.setattr(mirrors, "RETRY_S", 0)
    while mirror.fetch():
        pass
    verify(theirs / "toy" / "1")
    assert bucket.cut == 0


def test_a_file_that_is_not_what_the_manifest_says_is_not_taken_up(
    bundle: Path, bucket: Bucket, ours: Path, theirs: Path
) -> None:
    publish(bundle, ours)
    publish(bundle, ours)
    bucket.put("toy/2/variables/variables.index", b"WEIGHTS")
    mirror = Mirror(theirs)
    mirror.pull(listing=True)
    (problem,) = mirror.fetch()
    assert (
        "version 2 of toy is not taken up: s3://models/exports/toy/2 has altered variables/variables.index" in problem
    )
    assert not is_whole(theirs / "toy" / "2")
    assert is_whole(theirs / "toy" / "1")  # it was live before


def test_a_manifest_that_names_files_outside_of_its_bundle_is_refused(
    bundle: Path, bucket: Bucket, ours: Path, theirs: Path
) -> None:
    publish(bundle, ours)
    key = f"toy/1/{MANIFEST.as_posix()}"
    manifest = json.loads(bucket.get(key))
    bucket.put(key, json.dumps({**manifest, "files": {**manifest["files"], "../../evil": "0" * 64}}).encode())
    mirror = Mirror(theirs)
    mirror.pull(listing=True)
    (problem,) = mirror.fetch()
    assert "outside of the bundle" in problem


def test_a_store_that_is_away_changes_nothing(bundle: Path, bucket: Bucket, ours: Path, theirs: Path) -> None:
    publish(bundle, ours)
    mirror = Mirror(synchronised(theirs))
    bucket.failing = lambda method, path: True
    with pytest.raises(StoreAway, match="s3://models/exports fails at"):
        mirror.pull(listing=True)
    with pytest.raises(StoreAway):
        set_live(theirs, "toy", 1)
    assert read_live(theirs / "toy") == LivePointer(live=1)
    verify(theirs / "toy" / "1")


def test_an_old_list_removes_nothing_and_a_new_one_does(bundle: Path, bucket: Bucket, ours: Path, theirs: Path) -> None:
    mirror = Mirror(theirs)
    bucket.lists_old = True
    mirror.pull(listing=True)  # no model is there yet
    publish(bundle, ours)
    theirs.joinpath("toy").mkdir()
    mirror.pull(listing=True)
    assert read_live(theirs / "toy").live == 1  # its pointer is read, whatever is listed
    bucket.lists_old = False
    mirror.pull(listing=True)
    bucket.delete("toy/")
    mirror.pull(listing=True)
    assert list_models(theirs) == []


def test_a_store_without_conditions_takes_one_writer_and_says_so(
    bundle: Path, bucket: Bucket, ours: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.ignores_conditions = True
    assert [publish(bundle, ours), publish(bundle, ours)] == [1, 2]
    assert "only one machine may publish and promote there at a time" in caplog.text


def test_promoting_what_was_not_uploaded_whole_is_refused(bundle: Path, bucket: Bucket, ours: Path) -> None:
    publish(bundle, ours)
    publish(bundle, ours)
    bucket.delete("toy/1/variables")
    with pytest.raises(BrokenBundle, match=r"s3://models/exports/toy/1 lacks variables/variables\.index"):
        set_live(ours, "toy", 1)
    with pytest.raises(BrokenBundle, match=r"s3://models/exports/toy has no version 9\."):
        set_live(ours, "toy", 9)


def test_files_of_versions_that_nobody_uses_are_deleted_after_a_while(
    bundle: Path, ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        publish(bundle, ours)
    mirror = Mirror(synchronised(theirs))
    publish(bundle, ours)
    mirror.pull(listing=True)
    assert mirror.fetch() == []
    monkeypatch.setattr(mirrors, "KEEP_S", 0)
    mirror.forget_unused(lambda model, version: False)
    mirror.forget_unused(lambda model, version: False)
    home = theirs / "toy"
    assert [is_whole(home / str(version)) for version in list_versions(home)] == [False, True, True]


def test_a_change_that_is_undone_elsewhere_within_one_look_arrives(
    bundle: Path, bucket: Bucket, ours: Path, theirs: Path
) -> None:
    """The entity tag is that of the content, and so is what it was before."""
    publish(bundle, ours)
    mirror = Mirror(synchronised(theirs))
    before = bucket.get("toy/live.json")
    set_loaded(theirs, "toy", loaded=False)
    bucket.put("toy/live.json", before)
    mirror.pull(listing=False)
    assert not read_live(theirs / "toy").unloaded


def test_a_pointer_that_the_store_does_not_find_stays(bundle: Path, bucket: Bucket, ours: Path, theirs: Path) -> None:
    for _ in range(2):
        publish(bundle, ours)
    set_live(ours, "toy", 1)
    mirror = Mirror(synchronised(theirs))
    bucket.delete("toy/live.json")
    bucket.delete("default.json")
    mirror.pull(listing=True)
    assert read_live(theirs / "toy").live == 1
    assert read_default(theirs) == "toy"


def test_a_version_without_a_part_is_at_no_time_live(
    bundle: Path, bucket: Bucket, ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for make_live in (True, False, False):
        publish(bundle, ours, make_live=make_live)
    seen = []
    really = mirrors.outline

    def outline(exports: Path, model: str, version: int) -> object:
        found = really(exports, model, version)
        seen.append(read_live(exports / model).live)
        return found

    monkeypatch.setattr(mirrors, "outline", outline)
    Mirror(theirs).pull(listing=True)
    assert seen == [1, 1, 1]


def test_an_outline_never_takes_the_place_of_a_whole_version(
    bundle: Path, ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bundle, ours)
    really = origins.replace

    def replace(path: Path, data: bytes) -> None:
        monkeypatch.setattr(origins, "replace", really)
        Mirror(theirs).bring_version(theirs / "toy" / "1")  # the version comes while its outline is being made
        really(path, data)

    monkeypatch.setattr(origins, "replace", replace)
    outline(theirs, "toy", 1)
    assert is_whole(theirs / "toy" / "1")


def test_a_version_that_is_made_live_while_it_is_pruned_stays(
    bundle: Path, bucket: Bucket, ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        publish(bundle, ours)
    synchronised(theirs)
    really = prunes.sizes_of

    def sizes_of(home: Path) -> dict[int, int]:
        found = really(home)
        set_live(theirs, "toy", 1)
        return found

    monkeypatch.setattr(prunes, "sizes_of", sizes_of)
    assert [each.version for each in prunes.prune(ours, prunes.Retention(versions=1))] == [2]
    monkeypatch.undo()
    use(bucket, monkeypatch)
    assert verify(synchronised(mirror_folder(bucket.address, ours.parent / "new")) / "toy" / "1")


def test_the_state_of_a_job_stays_though_the_store_has_nothing_of_its_model(ours: Path, bundle: Path) -> None:
    publish(bundle, ours)
    (ours / "new" / "retrain").mkdir(parents=True)
    (ours / "new" / "retrain" / "unfinished.json").write_text("{}")
    Mirror(ours).pull(listing=True)
    assert (ours / "new" / "retrain" / "unfinished.json").exists()


def test_what_a_killed_download_left_behind_is_removed_and_one_under_way_is_not(
    bundle: Path, ours: Path, theirs: Path
) -> None:
    publish(bundle, ours)
    home = synchronised(theirs) / "toy"
    (home / ".staging-killed").mkdir()
    with new_folder(home) as staging:
        Mirror(theirs).clean()
        assert staging.exists()
    assert not (home / ".staging-killed").exists()


def test_an_empty_file_is_fetched_like_any_other(bundle: Path, ours: Path, theirs: Path) -> None:
    (bundle / "assets.extra" / "empty").touch()
    write_manifest(bundle, read_manifest(bundle))
    publish(bundle, ours)
    assert (synchronised(theirs) / "toy" / "1" / "assets.extra" / "empty").read_bytes() == b""


def test_others_may_roll_back_while_a_large_version_is_uploaded(bundle: Path, ours: Path) -> None:
    for _ in range(2):
        publish(bundle, ours)

    def roll_back_once(step: str) -> None:
        if step == "uploaded":
            roll_back(ours, "toy")

    publish(bundle, ours, make_live=False, on_step=roll_back_once)
    assert read_live(ours / "toy").live == 1


def test_the_history_of_a_change_that_was_made_is_no_reason_to_say_that_it_was_not(
    bundle: Path, bucket: Bucket, ours: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        publish(bundle, ours)
    bucket.failing = lambda method, path: method == "PUT" and path.endswith("history.jsonl")
    assert set_live(ours, "toy", 1).live == 1
    assert "lacks a change" in caplog.text


def test_a_folder_of_exports_needs_no_library_for_stores(tmp_path: Path, bundle: Path) -> None:
    code = (
        "import sys; sys.modules['obstore'] = None; from pathlib import Path\n"
        "from models.store.publish import publish; from models.store.live import set_live\n"
        "from models.store.prune import prune, Retention; from models.store.mirror import bring_version\n"
        f"exports = Path({str(tmp_path / 'local')!r})\n"
        f"for _ in range(3): publish(Path({str(bundle)!r}), exports)\n"
        "set_live(exports, 'toy', 1); bring_version(exports / 'toy', 1); print(len(prune(exports, Retention(1))))\n"
    )
    assert python("-c", code).strip() == "1"
