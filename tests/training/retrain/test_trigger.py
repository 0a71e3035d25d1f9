"""When `retrain --if-needed` trains."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
import pytest

from models.store.decisions import record_decision
from service.protocols.striate import Model
from training.promotion.traffic import Unreachable
from training.retrain.job import Job, Needed
from training.retrain.trigger import is_needed

PSI = {"classes": 0.05, "confidence": 0.31}
DRIFTED = Model("toy", 2, {"live": 2}, 0.0, False, False, {"images": 500, "psi": PSI}, [])


@pytest.fixture
def service() -> Iterator[str]:
    """A server that says of its model what a service would say of one that has drifted."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/models/toy" else 404)
            self.end_headers()
            self.wfile.write(msgspec.json.encode(DRIFTED))

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def give_feedback(job: Job, count: int, *, at_ns: int) -> None:
    folder = job.feedback[0] / "cat"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        path = folder / f"{at_ns}-{i}.png"
        path.write_bytes(b"an image")
        os.utime(path, ns=(at_ns, at_ns))


def decide(job: Job, *, days_ago: float = 0.0, until_ns: int = 0) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days_ago * 86_400))
    said = {"at": at, "outcome": "held", "reason": "so", "champion": 2, "findings": []}
    record_decision(job.home, {**said, "data": {"feedback_until_ns": until_ns}})


def test_a_model_of_which_nothing_is_live_is_trained(job: Job) -> None:
    assert is_needed(job, None) == (True, "nothing is live yet")


def test_only_labels_that_no_decision_has_seen_count(job: Job) -> None:
    job = replace(job, needed=Needed(new_labels=3))
    give_feedback(job, 5, at_ns=100)
    decide(job, until_ns=100)
    assert is_needed(job, 2)[0] is False
    give_feedback(job, 2, at_ns=200)
    assert is_needed(job, 2) == (
        False,
        "2 new labels, of 3 that are needed; drift unknown, since the job names no service.",
    )
    give_feedback(job, 1, at_ns=300)
    assert is_needed(job, 2) == (True, "3 new labels")


def test_after_so_many_days_it_is_time(job: Job) -> None:
    job = replace(job, needed=Needed(days=7))
    decide(job, days_ago=6)
    assert is_needed(job, 2)[0] is False
    job = replace(job, needed=Needed(days=5))
    assert is_needed(job, 2) == (True, "the last decision was 6 days ago")


def test_drift_of_any_statistic_is_a_reason_and_0_leaves_drift_out(job: Job, service: str) -> None:
    watched = replace(job, service=service)
    assert is_needed(watched, 2) == (True, "confidence has drifted (PSI 0.31)")
    needed, why = is_needed(replace(watched, needed=Needed(drift=0.5)), 2)
    assert (needed, "the most drift is 0.31, of confidence" in why) == (False, True)
    assert is_needed(replace(watched, needed=Needed(drift=0)), 2)[0] is False


def test_a_service_that_does_not_answer_is_an_error_and_not_no_drift(job: Job) -> None:
    with pytest.raises(Unreachable):
        is_needed(replace(job, service="http://127.0.0.1:9"), 2)
