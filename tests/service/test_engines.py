"""The HTTP worker's side against a real engine loop in a real process, whose model this test decides."""

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import gevent
import numpy as np
import pytest

from models.bundle import Manifest
from models.preprocessing import InputSpec
from service.engines import Engines
from service.errors import DeadlineExceeded, EngineCrash, ModelFailed, NotReady, Overloaded
from service.routes import ModelRoute, Routes, VersionRoute, write_routes

SPEC = InputSpec(4, 4, 1)
TARGET = ("toy", 1)
DEADLY, FAILING, SLOW, NAN = 66, 67, 68, 69  # pixel values with an effect on the toy model


class ToyBackend:
    """Probability i is pixel i / 255; some pixels do harm."""

    precision = "float32"
    batch_sizes = (1, 2, 4)

    def infer(self, images: np.ndarray) -> np.ndarray:
        first = images[:, 0, 0, 0]
        if DEADLY in first:
            os.kill(os.getpid(), signal.SIGKILL)
        if FAILING in first:
            raise RuntimeError("the toy fails")
        if SLOW in first:
            time.sleep(1)
        return np.where((first == NAN)[:, None], np.nan, images.reshape(len(images), -1) / 255).astype(np.float32)


def run_engine(endpoint: str, metrics: str) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
    from service.engine import Engine

    Engine(ToyBackend(), Manifest("toy", "toy", ("a", "b"), SPEC, {}), endpoint, 1).run()


class ToySupervisor:
    """Keeps one engine alive and says where in routes.json, as the real one does."""

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime
        (runtime / "metrics").mkdir()
        self.num_started = 0
        self._stopping = False
        self.routes_path = runtime / "routes.json"
        self.write(None)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def write(self, endpoint: str | None) -> None:
        route = VersionRoute("available" if endpoint else "restarting", endpoint, input_spec=SPEC)
        write_routes(self.routes_path, Routes("toy", {"toy": ModelRoute(1, {1: route})}))

    def stop(self) -> None:
        self._stopping = True
        self._process.kill()
        self._thread.join()

    def _run(self) -> None:
        context = multiprocessing.get_context("spawn")
        while not self._stopping:
            self.num_started += 1
            endpoint = f"ipc://{self._runtime}/engine-{self.num_started}"
            self._process = context.Process(target=run_engine, args=(endpoint, str(self._runtime / "metrics")))
            self._process.start()
            self.write(endpoint)
            self._process.join()
            self.write(None)


@pytest.fixture
def supervisor(tmp_path):
    supervisor = ToySupervisor(tmp_path)
    yield supervisor
    supervisor.stop()


@pytest.fixture
def engines(supervisor):
    engines = Engines(supervisor.routes_path, queue_capacity=16)
    yield engines
    engines.close()


def image(value: int) -> np.ndarray:
    return np.full(SPEC.shape, value, np.uint8)


def soon(seconds: float = 30) -> float:
    return time.monotonic() + seconds


def test_each_request_gets_its_own_answer(engines):
    asked = [gevent.spawn(engines.infer, TARGET, [image(v), image(v + 1)], soon()) for v in range(1, 15, 2)]
    for value, greenlet in zip(range(1, 15, 2), asked, strict=True):
        rows = greenlet.get()
        assert np.allclose(rows[:, 0] * 255, [value, value + 1])


def test_an_image_that_ends_two_engines_is_refused_and_its_companions_are_answered(engines, supervisor):
    engines.infer(TARGET, [image(1)], soon())
    companions = [gevent.spawn(engines.infer, TARGET, [image(v)], soon()) for v in range(1, 9)]
    deadly = gevent.spawn(engines.infer, TARGET, [image(DEADLY)], soon())
    with pytest.raises(EngineCrash):
        deadly.get()
    assert [round(float(c.get()[0, 0]) * 255) for c in companions] == [*range(1, 9)]
    assert supervisor.num_started == 3
    with pytest.raises(EngineCrash):  # known now: no third engine dies of it
        engines.infer(TARGET, [image(DEADLY)], soon())
    engines.infer(TARGET, [image(2)], soon())
    assert supervisor.num_started == 3


@pytest.mark.parametrize("value", [FAILING, NAN])
def test_a_model_that_fails_or_gives_no_number_is_an_error_for_that_request_only(engines, value):
    with pytest.raises(ModelFailed):
        engines.infer(TARGET, [image(value)], soon())
    assert engines.infer(TARGET, [image(3)], soon()).shape == (1, 16)


def test_pixels_of_a_wrong_shape_are_refused_by_the_engine(engines):
    with pytest.raises(ModelFailed):
        engines.infer(TARGET, [np.zeros((5, 5, 1), np.uint8)], soon())


def test_a_full_queue_refuses_rather_than_answers_late(engines):
    engines.infer(TARGET, [image(1)], soon())
    waiting = [gevent.spawn(engines.infer, TARGET, [image(SLOW)] * 8, soon()) for _ in range(2)]
    gevent.sleep(0)
    with pytest.raises(Overloaded):
        engines.infer(TARGET, [image(1)], soon())
    gevent.joinall(waiting)
    assert engines.infer(TARGET, [image(1)], soon()).shape == (1, 16)


def test_whoever_waits_longer_than_the_deadline_is_told_so(engines):
    engines.infer(TARGET, [image(1)], soon())
    slow = gevent.spawn(engines.infer, TARGET, [image(SLOW)], soon())
    gevent.sleep(0)
    with pytest.raises(DeadlineExceeded):
        engines.infer(TARGET, [image(1)], soon(0.2))
    assert slow.get().shape == (1, 16)


def test_without_an_engine_one_waits_for_it_until_the_deadline(tmp_path):
    routes = Routes("toy", {"toy": ModelRoute(1, {1: VersionRoute("restarting", input_spec=SPEC)})})
    write_routes(tmp_path / "routes.json", routes)
    engines = Engines(tmp_path / "routes.json", queue_capacity=4)
    with pytest.raises(DeadlineExceeded):
        engines.infer(TARGET, [image(1)], soon(0.1))
    waiting = gevent.spawn(engines.infer, TARGET, [image(1)], soon())
    gevent.sleep(0)
    gone = VersionRoute("rejected", reason="deleted", input_spec=SPEC)
    write_routes(tmp_path / "routes.json", replace(routes, models={"toy": ModelRoute(1, {1: gone})}))
    with pytest.raises(NotReady):
        waiting.get(timeout=5)
    engines.close()


def test_routes_survive_being_written_and_read(tmp_path):
    from service.routes import read_routes

    route = VersionRoute("available", "ipc:///x", None, ("a", "b"), SPEC, {"drawing": {"grid": 8}}, restarts=2)
    routes = Routes("toy", {"toy": ModelRoute(3, {3: route})}, draining=True)
    write_routes(tmp_path / "routes.json", routes)
    assert read_routes(tmp_path / "routes.json") == routes
    assert json.loads((tmp_path / "routes.json").read_text())["models"]["toy"]["live"] == 3
