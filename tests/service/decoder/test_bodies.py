"""Large bodies are parsed in decoder processes, so that no body holds up the requests of others."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import numpy as np
import pytest

from models.bundle.preprocessing import InputSpec
from service.decoder.pool import DecoderPool
from service.errors import DeadlineExceeded, NotReady, ServiceError
from service.ipc.turn import Turn
from service.parsing.kinds import CLASSIFY, FEEDBACK, FORM, IMAGES, INFER, KINDS, PREDICT, Kind
from tests.images import encode, noise
from tests.processes import ROOT

MAX_BYTES = 16_000_000
BASE64 = "QUJD" * 5000
FORM_TYPE = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n%b\r\n'


@pytest.fixture(scope="module")
def pool():
    return DecoderPool(1, MAX_BYTES, 40_000_000)


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def said(pool: DecoderPool, kind: Kind, body: bytes, *arguments: object, deadline: float | None = None):
    return pool.parse(kind, body, arguments, deadline or soon()).result()


def tensor(numbers: int) -> bytes:
    """A body of the Open Inference Protocol with so many pixels."""
    data = b"0," * (numbers - 1) + b"0"
    return b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,%d],"data":[%b]}]}' % (numbers, data)


def document(**values: object) -> bytes:
    return json.dumps(values).encode()


BODIES = [
    (IMAGES, document(images=[BASE64, "QQ=="]), (64,)),
    (IMAGES, document(images=["QUJD"] * 65), (64,)),
    (IMAGES, document(images=["?"]), (64,)),
    (IMAGES, document(image="QUJD"), (64,)),
    (IMAGES, b'{"images": [NaN]}', (64,)),
    (IMAGES, b"[" * 100_000, (64,)),
    (IMAGES, b"\xff", (64,)),
    (IMAGES, b'"\\ud800"', (64,)),
    (FEEDBACK, document(label="cat", image=BASE64, settle=True), ()),
    (FEEDBACK, document(label="cat", request_id="a", index=2), ()),
    (FEEDBACK, document(label="cat"), ()),
    (PREDICT, document(instances=[[[[1, 2, 3]]], [[[4, 5, 6]]]]), (64,)),
    (PREDICT, document(inputs={"images": [{"b64": BASE64}]}), (64,)),
    (PREDICT, document(instances=[[1], [1, 2]]), (64,)),
    (PREDICT, document(instances=[[256]]), (64,)),
    (PREDICT, document(instances=[[1]] * 65), (64,)),
    (PREDICT, b"", (64,)),
    (CLASSIFY, document(examples=[{"image": {"b64": BASE64}}]), (64,)),
    (INFER, tensor(12), (None, "toy", 64)),
    (INFER, tensor(12) + b"more", (str(len(tensor(12))), "toy", 64)),
    (INFER, tensor(12), ("1000000", "toy", 64)),
    (FORM, PART % b"\xff\r\n-\0" * 3 + b"--b--\r\n", (FORM_TYPE, 64, MAX_BYTES)),
    (FORM, PART % b"" * 75 + b"--b--\r\n", (FORM_TYPE, 64, MAX_BYTES)),
    (FORM, PART % b"cut off", (FORM_TYPE, 64, MAX_BYTES)),
    (FORM, b"x", ("multipart/form-data; boundary=\xe9", 64, MAX_BYTES)),
]


@pytest.mark.parametrize(("kind", "body", "arguments"), BODIES)
def test_a_decoder_says_of_a_body_what_the_http_worker_would_say(pool, kind, body, arguments):
    def outcome(read):
        try:
            return read()
        except ServiceError as error:
            return str(error), error.code, error.status

    here = outcome(lambda: kind.read(body, *arguments))
    assert outcome(lambda: said(pool, kind, body, *arguments)) == here


def test_a_confined_decoder_can_use_every_kind_of_parser(pool):
    assert {kind.name for kind, _, _ in BODIES} == KINDS.keys()


@pytest.fixture
def few_objects() -> Iterator[None]:
    """As in an HTTP worker: a full collection of all that a thousand tests have left takes 0.1 s."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("few_objects")
def test_while_bodies_of_millions_of_numbers_are_parsed_the_loop_goes_on(pool):
    body = tensor(5_000_000)
    began = time.thread_time()  # of this thread alone, whatever else the machine does
    INFER.read(body, None, "toy", 64)
    parsing_here = time.thread_time() - began
    said(pool, INFER, tensor(100), None, "toy", 64)
    longest = 0.0

    def beat() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()
            gevent.sleep(0.001)
            longest = max(longest, time.thread_time() - began)

    beating = gevent.spawn(beat)
    gevent.sleep(0.01)
    parsing = [pool.parse(INFER, body, (None, "toy", 64), soon(120)) for _ in range(2)]
    assert all(one.result().batch.images.shape == (1, 5_000_000) for one in parsing)
    beating.kill()
    assert longest < parsing_here / 2  # the loop could do nothing else for so long: usually a fiftieth


def test_large_bodies_do_not_hold_up_images(pool):
    parsing = [pool.parse(INFER, tensor(5_000_000), (None, "toy", 64), soon(120)) for _ in range(3)]
    gevent.sleep(0.05)
    for _ in range(5):
        pool.start(encode(noise(50, 50, 3)), InputSpec(8, 8, 3), soon()).result()
    assert not all(one._greenlet.ready() for one in parsing)
    for one in parsing:
        one.result()


def test_parsing_ends_at_the_deadline_of_its_request(pool):
    said(pool, INFER, tensor(1_000_000), None, "toy", 64)  # so that its decoder has been started
    decoder = pool._body.get()
    pool._body.put(decoder)
    assert decoder is not None
    os.kill(decoder.pid, signal.SIGSTOP)
    with pytest.raises(ServiceError, match="could not be parsed within this request's time") as late:
        said(pool, INFER, tensor(1_000_000), None, "toy", 64, deadline=soon(0.5))
    assert (late.value.status, late.value.code) == (422, "body_too_costly")
    images = said(pool, INFER, tensor(1_000_000), None, "toy", 64).batch.images
    assert np.array_equal(images, np.zeros((1, 1_000_000), np.uint8))


def test_one_heavy_image_at_a_time_is_decoded_by_all_workers_together(tmp_path):
    first, second = Turn(tmp_path / "lock"), Turn(tmp_path / "lock")
    assert first.take(soon(), lambda: False)
    assert not second.take(soon(0.1), lambda: False)
    assert not second.take(soon(), lambda: True)
    first.release()
    assert second.take(soon(), lambda: False)


def test_a_worker_with_many_heavy_images_leaves_the_others_their_turn(tmp_path):
    greedy, other = Turn(tmp_path / "lock"), Turn(tmp_path / "lock")
    assert greedy.take(soon(), lambda: False)
    waiting = gevent.spawn(other.take, soon(), lambda: False)
    gevent.sleep(0.01)
    greedy.release()
    assert not greedy.take(soon(0.2), lambda: False)
    assert waiting.get()


def test_a_worker_that_is_killed_does_not_keep_the_turn(tmp_path):
    code = f"""
import time
from pathlib import Path
from service.ipc.turn import Turn
Turn(Path({str(tmp_path / "lock")!r})).take(time.monotonic() + 60, lambda: False)
print("taken", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "taken\n"
        turn = Turn(tmp_path / "lock")
        assert not turn.take(soon(0), lambda: False)
        worker.kill()
    assert turn.take(soon(), lambda: False)


def test_a_heavy_image_waits_for_the_heavy_image_of_another_worker(tmp_path):
    other = Turn(tmp_path / "lock")
    assert other.take(soon(), lambda: False)
    pool = DecoderPool(1, MAX_BYTES, 40_000_000, turn=tmp_path / "lock")
    heavy = encode(np.zeros((4000, 4000), np.uint8), "PNG", compress_level=1)
    with pytest.raises(DeadlineExceeded, match="before a decoder was free"):
        pool.start(heavy, InputSpec(8, 8, 3), soon(5)).result()
    other.release()
    assert pool.start(heavy, InputSpec(8, 8, 3), soon()).result()[0].shape == (8, 8, 3)


def test_decoders_that_cannot_be_started_are_tried_again_after_pauses_and_the_log_says_it_once(
    tmp_path, monkeypatch, caplog
):
    tried: list[float] = []

    def fail(*_: object, **__: object) -> None:
        tried.append(time.monotonic())
        raise OSError("no process to be had")

    with monkeypatch.context() as patched:
        patched.setattr("service.decoder.process.subprocess.Popen", fail)
        pool = DecoderPool(2, MAX_BYTES, 40_000_000)
        for _ in range(50):
            with pytest.raises(NotReady, match="could be started"):
                said(pool, IMAGES, b"{}", 64)
        assert len(tried) < 5
        assert [record.message for record in caplog.records if "no process to be had" in record.message] != []
    assert sum("no process to be had" in record.message for record in caplog.records) == 1
    until = soon()
    while time.monotonic() < until:
        gevent.sleep(0.1)
        try:
            assert said(pool, IMAGES, document(images=["QUJD"]), 64).images[0].data == b"ABC"
            break
        except NotReady:
            continue
    else:
        raise AssertionError("no decoder was started again")


def test_a_decoder_that_ends_before_it_is_ready_counts_as_one_that_cannot_be_started(monkeypatch):
    monkeypatch.setattr("service.decoder.process.python_command", lambda *_: ["false"])
    pool = DecoderPool(1, MAX_BYTES, 40_000_000)
    with pytest.raises(NotReady):
        said(pool, IMAGES, b"{}", 64)
    assert not pool._backoff.may_try() or pool._backoff._pause_s > 0


def test_the_log_is_told_which_limits_hold_for_decoders(tmp_path: Path):
    told: list[object] = []
    pool = DecoderPool(1, MAX_BYTES, 40_000_000, announce=told.append)
    said(pool, IMAGES, document(images=["QUJD"]), 64)
    (confinement,) = told
    assert confinement.no_new_privileges  # type: ignore[attr-defined]
    assert confinement.memory  # type: ignore[attr-defined]
