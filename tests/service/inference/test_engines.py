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

from models.bundle.manifest import Manifest
from models.bundle.preprocessing import InputSpec
from service.engine.backend import Backend
from service.engine.loading import Loaded
from service.errors import DeadlineExceeded, EngineCrash, EngineGone, ModelFailed, NotReady
from service.inference.engines import Engines
from service.inference.targets import find_version
from service.ipc import messages
from service.ipc.routes import ModelRoute, Routes, VersionRoute, write_routes

SPEC = InputSpec(4, 4, 1)
TARGET = ("toy", 1)
DEADLY, FAILING, SLOW, NAN, FAILING_AT_START = 66, 67, 68, 69, 70  # pixel values with an effect on the toy model
PADDING = 0


class ToyBackend(Backend):
    """Probability i is pixel i / 255; some pixels do harm."""

    precision = "float32"
    threads = 1

    def __init__(self, in_flight: int, sizes: Path) -> None:
        self.in_flight = in_flight
        self._sizes = sizes

    def start(self, images: np.ndarray) -> np.ndarray:
        if FAILING_AT_START in images[:, 0, 0, 0]:
            raise RuntimeError("the toy does not even start")
        return images.copy()

    def finish(self, images: np.ndarray) -> np.ndarray:
        first = images[:, 0, 0, 0]
        with self._sizes.open("a") as sizes:
            sizes.write(f"{len(images)}\n")
        if DEADLY in first:
            os.kill(os.getpid(), signal.SIGKILL)
        if FAILING in first:
            raise RuntimeError("the toy fails")
        if SLOW in first:
            time.sleep(1)
        return np.where(
            ((first == NAN) | (first == PADDING))[:, None], np.nan, images.reshape(len(images), -1) / 255
        ).astype(np.float32)


def run_engine(endpoint: str, metrics: str, in_flight: int) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
    from service.engine.loop import Engine

    manifest = Manifest("toy", "toy", ("a", "b"), SPEC, {})
    backend = ToyBackend(in_flight, Path(metrics).with_name("sizes"))
    loaded = Loaded("openvino", backend, manifest, {1: 1.0}, 4, "the only one here")  # so slow was it at the start
    Engine(loaded, endpoint, 1, Path(metrics).with_name("drift")).run()


class ToySupervisor:
    """Keeps one engine alive and says where in routes.json, as the real one does."""

    def __init__(self, runtime: Path, in_flight: int) -> None:
        self._runtime = runtime
        self._in_flight = in_flight
        (runtime / "metrics").mkdir()
        self.num_started = 0
        self._stopping = False
        self.routes_path = runtime / "routes.json"
        self.write(None)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def write(self, endpoint: str | None) -> None:
        self.endpoint = endpoint or ""
        route = VersionRoute(
            "available" if endpoint else "restarting", (endpoint,) if endpoint else (), input_spec=SPEC
        )
        write_routes(self.routes_path, Routes("toy", {"toy": ModelRoute(1, {1: route})}))

    def sizes(self) -> list[int]:
        """Of the batches that were computed, in order."""
        return [int(line) for line in (self._runtime / "sizes").read_text().splitlines()]

    def kill_engine(self) -> None:
        """As an operator would, or a kernel without memory."""
        self._process.kill()

    def stop(self) -> None:
        self._stopping = True
        self._process.kill()
        self._thread.join()

    def _run(self) -> None:
        context = multiprocessing.get_context("spawn")
        while not self._stopping:
            self.num_started += 1
            endpoint = f"{self._runtime}/engine-{self.num_started}"
            self._process = context.Process(
                target=run_engine, args=(endpoint, str(self._runtime / "metrics"), self._in_flight)
            )
            self._process.start()
            self.write(endpoint)
            self._process.join()
            self.write(None)


@pytest.fixture(params=[1, 2], ids=["one batch at a time", "two"])
def supervisor(tmp_path, request):
    supervisor = ToySupervisor(tmp_path, request.param)
    yield supervisor
    supervisor.stop()


@pytest.fixture
def engines(supervisor):
    engines = Engines(supervisor.routes_path)
    yield engines
    engines.close()


def image(value: int) -> np.ndarray:
    return np.full(SPEC.shape, value, np.uint8)


def soon(seconds: float = 30) -> float:
    return time.monotonic() + seconds


def ask(engines: Engines, images: list[np.ndarray], deadline: float) -> np.ndarray:
    return engines.infer(TARGET, images, deadline).probabilities


def test_each_request_gets_its_own_answer(engines):
    asked = [gevent.spawn(ask, engines, [image(v), image(v + 1)], soon()) for v in range(1, 15, 2)]
    for value, greenlet in zip(range(1, 15, 2), asked, strict=True):
        rows = greenlet.get()
        assert np.allclose(rows[:, 0] * 255, [value, value + 1])


def test_an_image_that_ends_engines_is_refused_and_its_companions_are_answered(engines, supervisor):
    ask(engines, [image(1)], soon())
    companions = [gevent.spawn(ask, engines, [image(v)], soon()) for v in range(1, 9)]
    deadly = gevent.spawn(ask, engines, [image(DEADLY)], soon())
    with pytest.raises(EngineCrash, match="3 engines of this model ended"):
        deadly.get()
    assert [round(float(c.get()[0, 0]) * 255) for c in companions] == [*range(1, 9)]
    ask(engines, [image(2)], soon())  # of the successor of the last that died
    assert supervisor.num_started == 4
    with pytest.raises(EngineCrash):  # known now: no further engine dies of it
        ask(engines, [image(DEADLY)], soon())
    ask(engines, [image(2)], soon())
    assert supervisor.num_started == 4


def test_an_image_that_one_version_dies_of_is_still_asked_of_others(engines):
    ask(engines, [image(1)], soon())
    for _ in range(3):
        engines._suspects.note_death(TARGET, image(5).tobytes())
    with pytest.raises(EngineCrash):
        ask(engines, [image(5)], soon())
    with pytest.raises(EngineGone):  # there is no such version here, which is what it is told
        engines.infer(("toy", 2), [image(5)], soon())


def kill_while_computing(engines: Engines, supervisor: ToySupervisor, pixels: int) -> None:
    """Kill the engine at a moment at which it computes this image."""

    def computed() -> set[int]:
        return messages.read_computing(supervisor.endpoint) if supervisor.endpoint else set()

    def in_flight() -> set[int]:
        asked = [asked for channel in engines._channels.values() for asked in channel.in_flight.items()]
        wanted = image(pixels).tobytes()
        return {number for number, (q, place) in asked if q.arena.read(q.slots[place]) == wanted}

    while not (computed() & in_flight()):
        gevent.sleep(0.01)
    supervisor.kill_engine()


def test_an_image_whose_engines_are_killed_from_outside_is_answered_in_the_end(engines, supervisor):
    ask(engines, [image(1)], soon())
    asked = gevent.spawn(ask, engines, [image(SLOW)], soon())
    for _ in range(2):
        kill_while_computing(engines, supervisor, SLOW)
        engine = supervisor.num_started
        while supervisor.num_started == engine:
            gevent.sleep(0.01)
    assert round(float(asked.get()[0, 0]) * 255) == SLOW
    assert supervisor.num_started == 3


def test_many_clients_that_send_the_same_image_count_once_when_an_engine_is_killed(engines, supervisor):
    ask(engines, [image(1)], soon())
    asked = [gevent.spawn(ask, engines, [image(SLOW)], soon()) for _ in range(3)]
    kill_while_computing(engines, supervisor, SLOW)
    gevent.joinall(asked, raise_error=True)
    assert supervisor.num_started == 2


def test_an_image_that_only_waited_when_an_engine_died_is_not_suspected(engines, supervisor):
    ask(engines, [image(1)], soon())
    computed = gevent.spawn(ask, engines, [image(SLOW)], soon())
    gevent.sleep(0.3)
    waiting = gevent.spawn(ask, engines, [image(5)], soon())
    gevent.sleep(0.1)
    kill_while_computing(engines, supervisor, SLOW)
    while not engines._suspects:
        gevent.sleep(0.01)
    assert engines._suspects.deaths(TARGET, image(SLOW).tobytes()) == 1
    assert engines._suspects.deaths(TARGET, image(5).tobytes()) == 0
    gevent.joinall([computed, waiting], raise_error=True)
    assert engines._suspects.deaths(TARGET, image(SLOW).tobytes()) == 0  # it was answered


def test_an_engine_that_was_slow_when_it_started_computes_larger_batches_when_it_is_quick(engines, supervisor):
    ask(engines, [image(1)], soon())
    slow = gevent.spawn(ask, engines, [image(SLOW)], soon())
    gevent.sleep(0.3)
    rest = [gevent.spawn(ask, engines, [image(v)], soon()) for v in range(1, 13)]
    gevent.joinall([slow, *rest], raise_error=True)
    assert 4 in supervisor.sizes()


@pytest.mark.parametrize("value", [FAILING, FAILING_AT_START, NAN])
def test_a_model_that_fails_or_gives_no_number_is_an_error_for_that_image_only(engines, value):
    ask(engines, [image(1)], soon())
    slow = gevent.spawn(ask, engines, [image(SLOW)], soon())
    gevent.sleep(0.3)  # the others wait now, and are computed together
    asked = {v: gevent.spawn(ask, engines, [image(v)], soon()) for v in (5, value, 7, 9)}
    gevent.joinall([slow, *asked.values()])
    assert isinstance(asked.pop(value).exception, ModelFailed)
    assert {v: round(float(greenlet.value[0, 0]) * 255) for v, greenlet in asked.items()} == {5: 5, 7: 7, 9: 9}
    with pytest.raises(ModelFailed):
        ask(engines, [image(value)], soon())
    assert ask(engines, [image(3)], soon()).shape == (1, 16)


def test_pixels_of_a_wrong_shape_are_never_sent(engines):
    ask(engines, [image(1)], soon())
    with pytest.raises(ValueError, match="the slots are"):
        ask(engines, [np.zeros((5, 5, 1), np.uint8)], soon())


def test_what_nobody_waits_for_any_more_is_not_computed(engines, supervisor):
    ask(engines, [image(1)], soon())
    busy = gevent.spawn(ask, engines, [image(SLOW)], soon())
    gevent.sleep(0.3)
    gone = gevent.spawn(ask, engines, [image(DEADLY)], soon())
    gevent.sleep(0.1)
    gone.kill()
    assert busy.get().shape == (1, 16)
    assert ask(engines, [image(2)], soon()).shape == (1, 16)
    assert supervisor.num_started == 1


def test_whoever_waits_longer_than_the_deadline_is_told_so(engines):
    ask(engines, [image(1)], soon())
    slow = gevent.spawn(ask, engines, [image(SLOW)], soon())
    gevent.sleep(0)
    with pytest.raises(DeadlineExceeded):
        ask(engines, [image(1)], soon(0.2))
    assert slow.get().shape == (1, 16)


@pytest.mark.parametrize("state", ["rejected", "parked"])
def test_without_an_engine_one_waits_for_it_until_the_deadline_or_until_there_will_be_none(tmp_path, state):
    routes = Routes("toy", {"toy": ModelRoute(1, {1: VersionRoute("restarting", input_spec=SPEC)})})
    write_routes(tmp_path / "routes.json", routes)
    engines = Engines(tmp_path / "routes.json")
    with pytest.raises(DeadlineExceeded):
        ask(engines, [image(1)], soon(0.1))
    waiting = gevent.spawn(ask, engines, [image(1)], soon())
    gevent.sleep(0)
    gone = VersionRoute(state, reason="deleted", input_spec=SPEC)
    write_routes(tmp_path / "routes.json", replace(routes, models={"toy": ModelRoute(1, {1: gone})}))
    with pytest.raises(EngineGone):
        waiting.get(timeout=5)
    with pytest.raises(NotReady):
        find_version(engines.routes, "toy", None)
    engines.close()


def test_routes_survive_being_written_and_read(tmp_path):
    from service.ipc.routes import read_routes

    route = VersionRoute("available", ("/x",), None, ("a", "b"), SPEC, {"drawing": {"grid": 8}}, restarts=2)
    model = ModelRoute(3, {3: route}, {"live": 3, "canary": 4}, canary_fraction=0.1, unloaded=True)
    routes = Routes("toy", {"toy": model}, draining=True)
    write_routes(tmp_path / "routes.json", routes)
    assert read_routes(tmp_path / "routes.json") == routes
    assert json.loads((tmp_path / "routes.json").read_text())["models"]["toy"]["live"] == 3
