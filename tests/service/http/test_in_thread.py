"""A change that was answered with an error never happens; one that has begun is waited for."""

import contextlib
import fcntl
import gc
import threading
import weakref

import gevent
import pytest
from gevent.threadpool import ThreadPool

from models.files.deadline import ChangeCancelled, PendingChange
from models.store.live import read_live, set_canary, set_live, set_loaded, set_shadow
from models.store.publish import publish
from service.feedback.store import FeedbackStore
from service.http.in_thread import in_thread, in_thread_within
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
        lambda exports, pending: set_live(exports, "toy", 1, pending=pending),
        lambda exports, pending: set_canary(exports, "toy", 1, 0.5, pending=pending),
        lambda exports, pending: set_shadow(exports, "toy", 1, pending=pending),
        lambda exports, pending: set_loaded(exports, "toy", loaded=False, pending=pending),
    ],
    ids=["promote", "canary", "shadow", "unload"],
)
def test_a_change_that_waited_too_long_for_the_lock_does_not_happen_when_that_is_free(exports, threads, change):
    before = read_live(exports / "toy")
    with (exports / "toy" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ChangeCancelled):
            in_thread_within(threads, lambda pending: change(exports, pending), 0.1)
    threads.join()
    assert read_live(exports / "toy") == before
    in_thread_within(threads, lambda pending: change(exports, pending), 20)
    assert read_live(exports / "toy") != before


def test_feedback_that_waited_too_long_for_the_lock_is_not_stored(tmp_path, threads):
    store, image = FeedbackStore(tmp_path / "toy", max_bytes=10**9), encode(noise(8, 8, 3))
    (tmp_path / "toy").mkdir()
    with (tmp_path / "toy" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ChangeCancelled):
            in_thread_within(threads, lambda pending: store.add(image, "cat", pending=pending), 0.1)
    threads.join()
    assert store.summary()["labelled"] == {}
    assert in_thread_within(threads, lambda pending: store.add(image, "cat", pending=pending), 20) == "stored"


def test_what_waited_too_long_for_a_thread_is_never_begun(threads):
    release, begun = threading.Event(), []
    busy = threads.spawn(release.wait)
    with pytest.raises(ChangeCancelled):
        in_thread_within(threads, begun.append, 0.05)
    release.set()
    busy.get()
    threads.join()
    assert begun == []


def test_a_change_that_has_begun_is_waited_for(threads):
    begun, release = threading.Event(), threading.Event()

    def change(pending: PendingChange) -> str:
        pending.begin()
        begun.set()
        release.wait()
        return "changed"

    asked = gevent.spawn(in_thread_within, threads, change, 0.05)
    while not begun.is_set():
        gevent.sleep(0.01)
    gevent.sleep(0.1)
    assert not asked.ready()
    release.set()
    assert asked.get() == "changed"


class Body:
    """What a request holds."""


def test_an_exception_reaches_the_caller_and_leaves_nothing_in_memory(threads):
    held = []

    def fail() -> None:
        body = Body()
        held.append(weakref.ref(body))
        raise ValueError("no image")

    gc.disable()  # what is left to it waits, in a busy worker, for gigabytes
    try:
        for call in (lambda: in_thread(threads, fail), lambda: in_thread_within(threads, lambda _: fail(), 10)):
            with contextlib.suppress(ValueError):
                call()
            gevent.sleep(0.01)  # the result is let go when its callbacks have run
            assert held.pop()() is None
    finally:
        gc.enable()
