"""Large bodies come one after another."""

import gevent
import pytest

from service.errors import Overloaded
from service.http import uploads
from service.http.uploads import FREE_BYTES, Upload, Uploads

PIECE = 262_144


def read(upload: Upload, name: str, pieces: int, finished: list[str]) -> None:
    for _ in range(pieces):
        upload.has_read(PIECE)
    finished.append(name)


def test_the_body_that_began_first_is_complete_first():
    all_of_them, finished = Uploads(), []
    bodies = [(all_of_them.begin(), name) for name in ("first", "second", "third")]
    readers = [gevent.spawn(read, body, name, 8, finished) for body, name in reversed(bodies)]
    gevent.joinall(readers, raise_error=True)
    assert finished[0] in ("first", "third")  # who was there before the first took the first turn
    assert finished[1:] in (["second", "third"], ["first", "second"])


def test_a_body_whose_client_is_slow_holds_up_nobody():
    all_of_them, finished = Uploads(), []
    all_of_them.begin()  # and sends no more
    gevent.spawn(read, all_of_them.begin(), "quick", 8, finished).get(timeout=5)
    assert finished == ["quick"]


def test_who_is_gone_hands_its_turn_over():
    all_of_them, finished = Uploads(), []
    readers = [gevent.spawn(read, all_of_them.begin(), str(number), 30, finished) for number in range(4)]
    gevent.sleep(0.01)
    gevent.killall(readers[:3])
    readers[3].get(timeout=5)
    assert finished == ["3"]


def test_too_many_bytes_that_wait_are_refused(monkeypatch):
    monkeypatch.setattr(uploads, "LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr(uploads, "BYTES_PER_S", 2 * PIECE)
    all_of_them = Uploads()
    older = gevent.spawn(read, all_of_them.begin(), "older", 30, [])
    gevent.sleep(0.01)
    with pytest.raises(Overloaded, match="Too many large bodies"):
        all_of_them.begin().has_read(FREE_BYTES + 1)
    older.kill()
    monkeypatch.undo()
    all_of_them.begin().has_read(FREE_BYTES + 1)  # and the next finds it free
