"""A change that was answered with an error never happens; one that has begun is waited for."""

import fcntl
import threading

import gevent
import pytest
from gevent.threadpool import ThreadPool

from models.files.deadline import GivenUp, Turn
from models.store.live import read_live, set_canary, set_live, set_loaded, set_shadow
from models.store.publish import publish
from service.feedback.store import FeedbackStore
from service.http.in_thread import in_turn
from tests.bundles import make_bundle
from tests.images import encode, noise


@pytest.fixture
def threads():
    threads = ThreadPool(1)
    yield threads
    threads.join()


@pytest.fixture
def exports(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    for _ in range(2):
        publish(bundle, tmp_path / "exports")
    return tmp_path / "exports"


@pytest.mark.parametrize(
    "change",
    [
        lambda exports, turn: set_live(exports, "toy", 1, turn=turn),
        lambda exports, turn: set_canary(exports, "toy", 1, 0.5, turn=turn),
        lambda exports, turn: set_shadow(exports, "toy", 1, turn=turn),
        lambda exports, turn: set_loaded(exports, "toy", loaded=False, turn=turn),
    ],
    ids=["promote", "canary", "shadow", "unload"],
)
def test_a_change_that_waited_too_long_for_the_lock_does_not_happen_when_that_is_free(exports, threads, change):
    before = read_live(exports / "toy")
    with (exports / "toy" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(GivenUp):
            in_turn(threads, lambda turn: change(exports, turn), 0.1)
    threads.join()
    assert read_live(exports / "toy") == before
    in_turn(threads, lambda turn: change(exports, turn), 20)
    assert read_live(exports / "toy") != before


def test_feedback_that_waited_too_long_for_the_lock_is_not_stored(tmp_path, threads):
    store, image = FeedbackStore(tmp_path / "toy", max_bytes=10**9), encode(noise(8, 8, 3))
    (tmp_path / "toy").mkdir()
    with (tmp_path / "toy" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(GivenUp):
            in_turn(threads, lambda turn: store.add(image, "cat", turn=turn), 0.1)
    threads.join()
    assert store.summary()["labelled"] == {}
    assert in_turn(threads, lambda turn: store.add(image, "cat", turn=turn), 20) == "stored"


def test_what_waited_too_long_for_a_thread_is_never_begun(threads):
    release, begun = threading.Event(), []
    busy = threads.spawn(release.wait)
    with pytest.raises(GivenUp):
        in_turn(threads, begun.append, 0.05)
    release.set()
    busy.get()
    threads.join()
    assert begun == []


def test_a_change_that_has_begun_is_waited_for(threads):
    begun, release = threading.Event(), threading.Event()

    def change(turn: Turn) -> str:
        turn.begin()
        begun.set()
        release.wait()
        return "changed"

    asked = gevent.spawn(in_turn, threads, change, 0.05)
    while not begun.is_set():
        gevent.sleep(0.01)
    gevent.sleep(0.1)
    assert not asked.ready()
    release.set()
    assert asked.get() == "changed"
