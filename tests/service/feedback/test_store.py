"""Feedback on the disk: nothing acknowledged is lost, nothing is there twice, contradictions are kept apart."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from models.bundle.class_names import BadClassName
from service.feedback.store import FeedbackFull, FeedbackStore, uncertainty_of
from tests.images import encode, noise
from tests.needs import KILLS
from tests.processes import ROOT
from training.data.index import index_folder

BUDGET = 1_000_000


def store_in(folder: Path, *, max_bytes: int = BUDGET) -> FeedbackStore:
    return FeedbackStore(folder / "toy", max_bytes=max_bytes)


def image(seed: int) -> bytes:
    return encode(noise(8, 8, 3, seed=seed))


def labelled(store: FeedbackStore) -> dict[str, list[str]]:
    folder = store.home / "labelled"
    return {
        path.name: sorted(f.name for f in path.iterdir()) for path in sorted(folder.iterdir()) if any(path.iterdir())
    }


def test_labelled_images_are_an_ordinary_training_folder(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for i, label in enumerate(["cat", "dog", "cat"]):
        assert store.add(image(i), label) == "stored"
    index = index_folder(store.home / "labelled")
    assert index.class_names == ("cat", "dog")
    assert len(index.paths) == 3


def test_an_image_is_there_once_however_often_it_comes(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.add(image(0), "cat") == "stored"
    assert [store.add(image(0), "cat") for _ in range(3)] == ["duplicate"] * 3
    assert store.summary()["labelled"] == {"cat": 1}


def test_two_labels_for_one_image_are_kept_apart_until_one_is_settled(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add(image(0), "cat")
    assert store.add(image(0), "dog") == "contradictory"
    assert labelled(store) == {}
    assert list(store.contradictions().values()) == [["cat", "dog"]]
    assert store.add(image(0), "dog") == "contradictory"
    assert store.add(image(0), "bird") == "contradictory"
    assert store.add(image(0), "dog", settle=True) == "settled"
    assert list(labelled(store)) == ["dog"]
    assert store.contradictions() == {}


def test_a_label_given_back_after_a_contradiction_does_not_settle_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add(image(0), "cat")
    store.add(image(0), "dog")
    assert store.add(image(0), "cat") == "contradictory"
    assert labelled(store) == {}


def test_labels_have_a_budget_and_say_so_when_it_is_used_up(tmp_path: Path) -> None:
    size = len(image(0))
    store = store_in(tmp_path, max_bytes=2 * size + 50)
    store.add(image(0), "cat")
    store.add(image(1), "cat")
    with pytest.raises(FeedbackFull, match="bytes are used"):
        store.add(image(2), "cat")
    assert store.summary()["labelled"] == {"cat": 2}
    assert store.add(image(1), "cat") == "duplicate"


def test_kept_images_make_room_for_labelled_ones_the_oldest_first(tmp_path: Path) -> None:
    size = len(image(0))
    store = store_in(tmp_path, max_bytes=5 * size)
    for i in range(2):
        store.keep(image(i), 1, f"r{i}", [("cat", 0.6 + 0.1 * i), ("dog", 0.4)])
        time.sleep(0.01)  # by which the second is the younger
    store.add(image(10), "cat")
    store.add(image(11), "cat")
    store.add(image(12), "cat")
    assert [kept.request_id for kept in store.kept(10)] == ["r1"]
    store.add(image(13), "cat")
    assert store.kept(10) == []
    assert store.summary()["labelled"] == {"cat": 4}
    assert int(str(store.summary()["bytes"])) <= 5 * size


def test_kept_images_come_most_uncertain_first_and_leave_when_they_are_labelled(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for i, share in enumerate([0.9, 0.5, 0.7]):
        store.keep(image(i), 4, f"r{i}", [("cat", share), ("dog", 1 - share)])
    found = store.kept(10)
    assert [kept.request_id for kept in found] == ["r1", "r2", "r0"]
    assert found[0].uncertainty == pytest.approx(1.0)
    assert found[0].path.read_bytes() == image(1)
    store.add(image(1), "dog")
    assert [kept.request_id for kept in store.kept(10)] == ["r2", "r0"]
    assert not store.keep(image(1), 4, "again", [("cat", 0.5)])
    assert store.discard(store.kept(1)[0].digest)
    assert [kept.request_id for kept in store.kept(10)] == ["r0"]


def test_kept_images_are_deleted_when_their_time_is_over(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.keep(image(0), 1, "old", [("cat", 0.5)])
    store.keep(image(1), 1, "new", [("cat", 0.6)])
    for path in (store.home / "kept").glob(f"*{store.kept(1)[0].digest}*"):
        os.utime(path, (time.time() - 1000, time.time() - 1000))
    assert store.expire(500) == 2
    assert [kept.request_id for kept in store.kept(10)] == ["new"]


@pytest.mark.parametrize("label", ["", "a/b", "..", ".hidden", "x" * 256, "a\nb", " cat", "cat\0"])
def test_what_cannot_name_a_folder_is_no_label(tmp_path: Path, label: str) -> None:
    with pytest.raises(BadClassName):
        store_in(tmp_path).add(image(0), label)
    assert not (tmp_path / "toy").exists()


def test_a_label_in_another_unicode_form_is_the_same_label(tmp_path: Path) -> None:
    """It gave an image two labels that nobody could tell apart; older versions have left such folders behind."""
    store, decomposed = store_in(tmp_path), unicodedata.normalize("NFD", "café")
    store.add(image(0), "café")
    assert store.add(image(0), decomposed) == "duplicate"
    assert store.add(image(1), decomposed) == "stored"
    assert list(labelled(store)) == ["café"]
    (store.home / "labelled" / "café").rename(store.home / "labelled" / decomposed)
    assert store.add(image(0), "café") == "duplicate"
    assert store.add(image(2), "café") == "stored"
    assert store.summary()["labelled"] == {"café": 3}
    assert store.add(image(0), "thé") == "contradictory"
    assert list(store.contradictions().values()) == [["café", "thé"]]
    assert store.add(image(0), decomposed, settle=True) == "settled"
    assert store.summary()["labelled"] == {"café": 3}


def test_an_answer_between_two_classes_is_the_most_uncertain() -> None:
    assert uncertainty_of([0.5, 0.5]) > uncertainty_of([0.6, 0.4]) > uncertainty_of([1.0, 0.0]) == 0


def add_many(home: Path, seeds: list[int]) -> None:
    store = FeedbackStore(home, max_bytes=BUDGET)
    for seed in seeds:
        store.add(image(seed), "cat" if seed % 2 else "dog")


def test_processes_that_write_at_once_do_each_other_no_harm(tmp_path: Path) -> None:
    home = tmp_path / "toy"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_many, args=(home, list(range(40)))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    store = FeedbackStore(home, max_bytes=BUDGET)
    assert store.summary()["labelled"] == {"cat": 20, "dog": 20}
    assert int((home / ".usage").read_text()) == store.summary()["bytes"]


WRITER = """
import sys
from pathlib import Path
from service.feedback.store import FeedbackStore
from tests.service.feedback.test_store import image
store = FeedbackStore(Path(sys.argv[1]), max_bytes=10**9)
for seed in range(int(sys.argv[2]), 10**6):
    label = "cat" if seed % 2 else "dog"
    store.add(image(seed), label)
    if seed % 5 == 0:
        store.add(image(seed), "bird")
        store.add(image(seed), label, settle=True)
    print(seed, flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_it_has_acknowledged(tmp_path: Path) -> None:
    home, rng, acknowledged = tmp_path / "toy", random.Random(1), [-1]
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(home), str(acknowledged[-1] + 1)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged.append(int(writer.stdout.readline()))
            time.sleep(rng.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout.read().splitlines() if line]
    store = FeedbackStore(home, max_bytes=10**9)
    for seed in acknowledged[1:]:
        assert store.add(image(seed), "cat" if seed % 2 else "dog") == "duplicate", seed
    assert not list(home.rglob(".*-*")), "a file that was half written is still there"
