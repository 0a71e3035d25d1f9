"""How many images may wait: refused at once beyond that, with a time to try again."""

import contextlib
import time

import pytest

from service.errors import Overloaded, TooLarge
from service.inference.queue_limit import QueueLimit
from service.ipc.counts import SharedCounts, column_of
from service.telemetry.metrics import WAITING


@pytest.fixture
def queue():
    return QueueLimit(16, 1000, SharedCounts(1).claim(), column)


def column(model: str) -> int:
    return column_of(["toy", "other"].index(model))


def test_places_and_bytes_are_counted_over_all_workers():
    shared = SharedCounts(3)
    here, there = (QueueLimit(16, 1000, shared.claim(), column) for _ in range(2))
    with here.hold("toy", 9, 600):
        assert there.num_waiting("toy") == 9
        there.check("toy", 7)
        with pytest.raises(Overloaded, match="9 images of toy are waiting already"):
            there.check("toy", 8)
        with pytest.raises(Overloaded, match=r"take 1,000 bytes already \(SERVICE_QUEUE_BYTES\)"):
            there.check("other", 1, 401)
    there.check("toy", 16, 1000)


def test_what_a_worker_held_is_free_when_it_has_died():
    shared = SharedCounts(2)
    here, died = shared.claim(), shared.claim()
    died_of = contextlib.ExitStack()  # which is never left
    died_of.enter_context(QueueLimit(16, 1000, died, column).hold("toy", 16, 1000))
    with pytest.raises(Overloaded):
        QueueLimit(16, 1000, here, column).check("toy")
    shared.release(died)
    QueueLimit(16, 1000, here, column).check("toy", 16, 1000)


def test_a_full_queue_refuses_until_an_answer_has_made_room(queue):
    with queue.hold("toy", 9):
        with queue.hold("toy", 7), pytest.raises(Overloaded, match="16 images of toy are waiting already"):
            queue.check("toy")
        queue.check("toy")
        assert queue.num_waiting("toy") == 9
    assert queue.num_waiting("toy") == 0


def test_a_request_that_fails_gives_its_places_back(queue):
    with pytest.raises(RuntimeError), queue.hold("toy", 16):
        raise RuntimeError
    assert queue.num_waiting("toy") == 0


def test_a_refusal_says_how_long_answers_take(queue):
    with queue.hold("toy", 1):
        time.sleep(1.1)
    with queue.hold("toy", 16), pytest.raises(Overloaded) as refused:
        queue.check("toy")
    assert int(refused.value.headers["Retry-After"]) >= 2


def test_one_model_takes_no_place_of_another(queue):
    with queue.hold("other", 16):
        queue.check("toy", 16)


def test_more_images_than_may_ever_wait_are_refused_for_good(queue):
    with pytest.raises(TooLarge, match="17 images came, and 16 may wait here"), queue.hold("toy", 17):
        pass


def test_the_gauge_names_every_model_even_one_that_nobody_has_asked(queue):
    with queue.hold("toy", 3):
        queue.report(["toy", "idle"])
    series = {s.labels["model"]: s.value for metric in WAITING.collect() for s in metric.samples}
    assert {name: series[name] for name in ("toy", "idle")} == {"toy": 3, "idle": 0}
