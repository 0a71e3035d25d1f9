"""Which of a model's versions have engines, decided for engines that are only pretended."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from models.bundle.manifest import Manifest
from models.bundle.preprocessing import InputSpec
from models.store.live import LIVE, set_canary, set_live, set_loaded
from models.store.publish import publish
from service.placement.devices import Device
from service.placement.place import place
from service.supervisor.model import Model, none_can_answer
from service.supervisor.repository import look_at_model
from service.supervisor.version import MAX_CRASHES
from tests.bundles import make_bundle

CPU = Device("cpu", (0,))
REPORT = {
    "precision": "float32",
    "reason": "the only one here",
    "threads": 1,
    "verdict": {},
    "manifest": Manifest("toy", "toy", ("a", "b"), InputSpec(4, 4, 1), {}),
}


class Engine:
    """What a model knows of an engine's process."""

    pid = 1

    def __init__(self, *, ready: bool) -> None:
        self.ready: dict[str, Any] | None = REPORT if ready else None
        self.failure: str | None = None
        self.retired: float | None = None
        self.started = time.monotonic()
        self.endpoint = "ipc:///nowhere"
        self.device = CPU
        self.stuck = False
        self.needs_idle_time = False
        self.verdict: dict[str, Any] | None = None
        self.life_s = 0.0

    def answered_for_s(self) -> float:
        return self.life_s


@pytest.fixture
def exports(tmp_path) -> Path:
    """Three versions, of which the second is live and the first was before."""
    bundle = make_bundle(tmp_path / "bundle")
    for _ in range(2):
        publish(bundle, tmp_path / "exports")
    publish(bundle, tmp_path / "exports", make_live=False)
    return tmp_path / "exports"


@pytest.fixture
def model(exports) -> Model:
    model = Model(exports / "toy")
    settle(model)
    return model


def look(model: Model) -> None:
    """At the exports, as the repository's thread does."""
    model.take(look_at_model(model.home, model.interest()))
    settle_places(model)


def settle_places(model: Model) -> None:
    model.settle(place(model.demands(0.0, 1), [CPU]))


def settle(model: Model) -> None:
    """Start and retire what is to be, until nothing is left to do; every engine that is asked to stop does."""
    for _ in range(10):
        look(model)
        model.follow_pointer()
        for number, version in list(model.versions.items()):
            for engine in [engine for engine in version.engines if engine in model.to_retire()]:
                engine.retired = time.monotonic()
                model.note_end(number, engine, 0)
        for number in to_start(model):
            start(model, number)


def to_start(model: Model) -> list[int]:
    settle_places(model)
    return [number for number, _ in model.to_start()]


def engine_of(model: Model, number: int) -> Engine:
    (engine,) = model.versions[number].engines
    assert isinstance(engine, Engine)
    return engine


def end(model: Model, number: int, status: int) -> None:
    """The engine of a version ends."""
    model.note_end(number, engine_of(model, number), status)  # type: ignore[arg-type]


def start(model: Model, number: int, *, ready: bool = True) -> None:
    engine: Any = Engine(ready=ready)
    model.versions[number].engines.append(engine)
    if ready:
        model.versions[number].note_ready(engine)


def engines(model: Model) -> set[int]:
    return {number for number, version in model.versions.items() if version.engines}


def test_the_live_version_and_the_one_before_have_engines(model):
    assert model.serving == 2
    assert engines(model) == {1, 2}


def test_no_traffic_goes_to_an_engine_that_was_asked_to_stop(model, exports):
    set_live(exports, "toy", 3)
    look(model)
    (retired,) = model.to_retire()
    retired.retired = time.monotonic()  # of version 1, which has not ended yet
    set_live(exports, "toy", 1)
    look(model)
    model.follow_pointer()
    assert model.serving == 2
    end(model, 1, 0)
    settle(model)
    assert model.serving == 1


def test_a_canary_that_crashed_and_is_ended_leaves_nothing_behind(model, exports):
    set_canary(exports, "toy", 3, 0.5)
    settle(model)
    assert engines(model) == {1, 2, 3}
    for _ in range(4):
        end(model, 3, 9)
        start(model, 3)
    end(model, 3, 9)
    set_canary(exports, "toy", None, 0.0)
    settle(model)
    assert set(model.route().versions) == {1, 2}


def test_the_live_engine_is_started_again_though_a_canary_is_loading(model, exports):
    set_canary(exports, "toy", 3, 0.5)
    look(model)
    assert to_start(model) == [3]
    start(model, 3, ready=False)
    end(model, 2, 9)
    assert to_start(model) == [2]


def test_an_unloaded_model_has_no_engines_until_it_is_loaded(model, exports):
    set_loaded(exports, "toy", loaded=False)
    settle(model)
    assert engines(model) == set()
    assert model.route().unloaded
    set_loaded(exports, "toy", loaded=True)
    settle(model)
    assert model.serving == 2


def test_a_first_pointer_remembers_the_version_that_was_live_without_one(exports, tmp_path):
    (exports / "toy" / LIVE).unlink()  # the newest, 3, is live now
    publish(tmp_path / "bundle", exports)
    model = Model(exports / "toy")
    settle(model)
    assert model.serving == 4
    assert engines(model) == {3, 4}


def end_live(model: Model, *, life_s: float, stuck: bool) -> None:
    """The live engine dies, and the next one is started as soon as it may be."""
    version = model.versions[2]
    engine = engine_of(model, 2)
    engine.life_s, engine.stuck = life_s, stuck
    end(model, 2, 9)
    version.not_before = 0.0
    settle(model)


def look_and_retire(model: Model) -> None:
    """See what has changed, and have the engines end that are not wanted any more."""
    look(model)
    for engine in model.to_retire():
        engine.retired = time.monotonic()
        model.note_end(next(n for n, version in model.versions.items() if engine in version.engines), engine, 0)


def reject_live(model: Model, exports: Path) -> None:
    """Version 3 is made live, and its engine says that a file is altered."""
    (exports / "toy" / LIVE).write_text('{"live": 3, "previous": 2}')
    look_and_retire(model)
    start(model, 3, ready=False)
    engine_of(model, 3).failure = "altered"
    end(model, 3, 1)
    assert model.route().versions[3].state == "rejected"
    assert to_start(model) == []


def test_a_rejected_version_is_tried_again_when_its_files_have_changed_and_nobody_writes_them_any_more(model, exports):
    reject_live(model, exports)
    weights = exports / "toy" / "3" / "variables" / "variables.index"
    for content in (b"weig", b"weight", b"weights"):
        weights.write_bytes(content)
        look(model)
        assert to_start(model) == []
    look(model)
    assert model.route().versions[3].state == "loading"
    assert to_start(model) == []  # each rejection is followed by a pause
    model.versions[3].not_before = 0.0
    assert to_start(model) == [3]


def test_a_file_that_does_not_belong_to_a_rejected_version_may_be_removed(model, exports):
    (exports / "toy" / "3" / "variables" / "unlisted").touch()
    reject_live(model, exports)
    (exports / "toy" / "3" / "variables" / "unlisted").unlink()
    for _ in range(2):
        look(model)
    assert model.route().versions[3].state == "loading"


def test_a_rejected_version_is_tried_again_at_once_when_it_is_promoted_again(model, exports):
    reject_live(model, exports)
    set_live(exports, "toy", 3)
    look(model)
    assert to_start(model) == [3]


def test_a_version_that_was_judged_is_loaded_by_the_verdict_and_no_crash_is_counted(model, exports):
    set_live(exports, "toy", 3)
    look(model)
    start(model, 3, ready=False)
    engine_of(model, 3).verdict = {"threads": 2}
    end(model, 3, 0)
    assert model.versions[3].may_start(time.monotonic())
    assert (model.versions[3].verdict, model.versions[3].crashes) == ({"threads": 2}, 0)


def test_a_version_for_which_there_is_no_idle_time_is_loaded_without_and_no_crash_is_counted(model, exports):
    set_live(exports, "toy", 3)
    look(model)
    start(model, 3, ready=False)
    engine = engine_of(model, 3)
    engine.needs_idle_time = engine.stuck = True
    end(model, 3, -9)
    assert model.versions[3].may_start(time.monotonic())
    assert (model.versions[3].lacks_idle_time, model.versions[3].crashes) == (True, 0)


def test_a_promotion_counts_though_the_engine_ended_while_the_exports_were_looked_at(model, exports):
    reject_live(model, exports)
    set_live(exports, "toy", 3)
    running = (model.serving, {3, *model.interest()[1]})  # it ran when the look began
    model.take(look_at_model(model.home, running))
    assert to_start(model) == []
    look(model)
    assert to_start(model) == [3]


def test_a_version_whose_files_are_still_missing_waits_for_them(model, exports):
    home = exports / "toy" / "3"
    missing = {path: path.read_bytes() for path in (home / "saved_model.pb", home / "variables" / "variables.index")}
    for path in missing:
        path.unlink()
    (exports / "toy" / LIVE).write_text('{"live": 3, "previous": 2}')
    look_and_retire(model)
    for path, content in missing.items():
        route = model.route().versions[3]
        assert (route.state, to_start(model)) == ("loading", [])
        assert re.fullmatch(r"waiting for [12] of the 7 files that its manifest lists", route.reason)
        path.write_bytes(content)
        look(model)
    assert to_start(model) == []  # somebody was writing until just now
    look(model)
    assert to_start(model) == [3]
    assert model.serving == 2


def test_a_version_that_was_too_slow_to_load_or_had_no_memory_is_tried_again_later(model, exports):
    set_live(exports, "toy", 3)
    look_and_retire(model)
    for _ in range(3):
        start(model, 3, ready=False)
        end(model, 3, 9)
    assert model.route().versions[3].state == "rejected"
    look(model)
    assert to_start(model) == []
    model.versions[3].not_before = 0.0
    look(model)
    assert to_start(model) == [3]
    start(model, 3, ready=False)
    end(model, 3, 9)
    assert model.route().versions[3].reason == "its engine ended 4 times while loading"


def test_a_version_that_cannot_be_kept_alive_is_parked_and_tried_again_ever_later(model):
    pauses = []
    for _ in range(MAX_CRASHES + 6):
        end(model, 2, 9)
        pauses.append(round(model.versions[2].not_before - time.monotonic()))
        model.versions[2].not_before = 0.0
        start(model, 2)
    assert pauses[:3] == [0, 0, 1]
    assert pauses[MAX_CRASHES - 1 :] == [60, 120, 240, 480, 600, 600, 600]
    end(model, 2, 9)
    route = model.route().versions[2]
    assert route.state == "parked"
    assert route.reason == "its engine ended 17 times in a row; it is tried again now and then"
    start(model, 2)
    assert model.route().versions[2].state == "available"
    engine_of(model, 2).life_s = 60
    end(model, 2, 9)
    assert model.route().versions[2].state == "restarting"


def test_a_version_that_has_answered_and_lost_files_since_is_rejected_until_they_change(model, exports):
    (exports / "toy" / "2" / "saved_model.pb").unlink()
    end(model, 2, 9)
    for _ in range(2):
        look(model)
    start(model, 2, ready=False)
    engine_of(model, 2).failure = "lacks saved_model.pb"
    end(model, 2, 1)
    for _ in range(3):
        look(model)
    assert model.route().versions[2].reason == "lacks saved_model.pb"
    model.versions[2].not_before = 0.0
    look(model)
    assert model.route().versions[2].state == "rejected"


def test_one_model_that_cannot_be_kept_alive_ends_nothing_while_another_answers_or_may_load(model, exports, tmp_path):
    publish(make_bundle(tmp_path / "other", model="other"), exports)
    other = Model(exports / "other")
    settle(other)
    model.versions[2].crashes = MAX_CRASHES
    assert not none_can_answer([model, other])
    other.versions[1].crashes = MAX_CRASHES
    assert none_can_answer([model, other])
    other.versions[1].crashes, other.versions[1].rejected = 0, "altered"
    assert none_can_answer([model, other])
    assert not none_can_answer([])


def test_a_folder_that_cannot_be_listed_leaves_its_model_as_it_is(model, exports, monkeypatch):
    def refuse(home: Path) -> None:
        raise PermissionError(f"{home} cannot be listed")

    monkeypatch.setattr("service.supervisor.repository.read_live", refuse)
    look(model)
    assert engines(model) == {1, 2}


@pytest.mark.parametrize(("life_s", "stuck", "hopeless"), [(60, False, False), (60, True, True), (0.1, False, True)])
def test_who_dies_young_or_hangs_again_and_again_is_hopeless(model, life_s, stuck, hopeless):
    for _ in range(10):
        assert not model.is_hopeless()
        end_live(model, life_s=life_s, stuck=stuck)
    assert model.is_hopeless() == hopeless


def test_a_model_that_is_unloaded_while_its_engine_is_down_answers_nobody(model, exports):
    assert model.answers
    end(model, 2, 9)
    set_loaded(exports, "toy", loaded=False)
    look(model)
    assert not model.answers


TWO = [Device("cuda:0", (0,), "0"), Device("cuda:1", (0,), "1")]


def settle_on_two(model: Model) -> list[tuple[int, Device]]:
    model.take(look_at_model(model.home, model.interest()))
    model.settle(place(model.demands(0.0, 0), TWO))
    return model.to_start()


def start_on(model: Model, number: int, device: Device, *, ready: bool) -> Any:
    engine: Any = Engine(ready=ready)
    engine.device = device
    model.versions[number].engines.append(engine)
    if ready:
        model.versions[number].note_ready(engine)
    return engine


@pytest.fixture
def on_two(exports) -> Model:
    """Version 2 answers on the first of two devices."""
    model = Model(exports / "toy")
    ((number, device),) = settle_on_two(model)
    start_on(model, number, device, ready=True)
    model.follow_pointer()
    assert model.serving == 2
    return model


def test_an_engine_that_cannot_load_beside_one_that_answers_harms_it_not(on_two: Model) -> None:
    for _ in range(12):
        for number, device in settle_on_two(on_two):
            if number != 2:
                continue
            engine = start_on(on_two, 2, device, ready=False)
            engine.failure = "there is too little memory"
            on_two.note_end(2, engine, 1)
            times, _ = on_two.versions[2].failing_on[device.name]
            on_two.versions[2].failing_on[device.name] = times, 0.0  # it is due again
    assert on_two.versions[2].failing_on["cuda:1"][0] > 3
    assert on_two.route().versions[2].state == "available"
    assert not on_two.is_hopeless()


def test_a_version_goes_live_though_one_of_its_devices_fails(on_two: Model, exports: Path) -> None:
    start_on(on_two, 2, TWO[1], ready=True)
    set_live(exports, "toy", 3)
    settle_on_two(on_two)
    start_on(on_two, 3, TWO[0], ready=True)
    on_two.follow_pointer()
    assert on_two.serving == 2  # the second engine is to come
    settle_on_two(on_two)
    failing = start_on(on_two, 3, TWO[1], ready=False)
    failing.failure = "there is too little memory"
    on_two.note_end(3, failing, 1)
    times, _ = on_two.versions[3].failing_on["cuda:1"]
    on_two.versions[3].failing_on["cuda:1"] = times, time.monotonic() + 60
    on_two.follow_pointer()
    assert on_two.serving == 3
