"""Which of a model's versions have engines, decided for engines that are only pretended."""

import time
from pathlib import Path
from typing import Any

import pytest

from models.exports import LIVE, publish, set_canary, set_live, set_loaded
from service.lifecycle import Model
from tests.bundles import make_bundle


class Engine:
    """What a model knows of an engine's process."""

    pid = 1

    def __init__(self, *, ready: bool) -> None:
        self.ready: dict[str, Any] | None = {"precision": "float32"} if ready else None
        self.failure: str | None = None
        self.retired: float | None = None
        self.started = time.monotonic()
        self.endpoint = "ipc:///nowhere"
        self.stuck = False
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


def settle(model: Model) -> None:
    """Start and retire what is to be, until nothing is left to do; every engine that is asked to stop does."""
    for _ in range(10):
        model.look()
        model.follow_pointer()
        for number, version in list(model.versions.items()):
            if version.engine in model.to_retire():
                version.engine.retired = time.monotonic()
                model.note_end(number, 0)
        for number in model.to_start():
            start(model, number)


def start(model: Model, number: int, *, ready: bool = True) -> None:
    model.versions[number].engine = Engine(ready=ready)
    if ready:
        model.note_ready(number)


def engines(model: Model) -> set[int]:
    return {number for number, version in model.versions.items() if version.engine is not None}


def test_the_live_version_and_the_one_before_have_engines(model):
    assert model.serving == 2
    assert engines(model) == {1, 2}


def test_no_traffic_goes_to_an_engine_that_was_asked_to_stop(model, exports):
    set_live(exports, "toy", 3)
    model.look()
    (retired,) = model.to_retire()
    retired.retired = time.monotonic()  # of version 1, which has not ended yet
    set_live(exports, "toy", 1)
    model.look()
    model.follow_pointer()
    assert model.serving == 2
    model.note_end(1, 0)
    settle(model)
    assert model.serving == 1


def test_a_canary_that_crashed_and_is_ended_leaves_nothing_behind(model, exports):
    set_canary(exports, "toy", 3, 0.5)
    settle(model)
    assert engines(model) == {1, 2, 3}
    for _ in range(4):
        model.note_end(3, 9)
        model.versions[3].engine = None
        start(model, 3)
    model.note_end(3, 9)
    set_canary(exports, "toy", None, 0.0)
    settle(model)
    assert set(model.route().versions) == {1, 2}


def test_the_live_engine_is_started_again_though_a_canary_is_loading(model, exports):
    set_canary(exports, "toy", 3, 0.5)
    model.look()
    assert model.to_start() == [3]
    start(model, 3, ready=False)
    model.note_end(2, 9)
    assert model.to_start() == [2]


def test_an_unloaded_model_has_no_engines_until_it_is_loaded(model, exports):
    set_loaded(exports, "toy", loaded=False)
    settle(model)
    assert engines(model) == set()
    assert model.route().unloaded
    set_loaded(exports, "toy", loaded=True)
    settle(model)
    assert model.serving == 2


def test_a_reason_for_a_rejection_names_no_place_on_our_disk(model, exports):
    set_live(exports, "toy", 3)
    model.look()
    engine = Engine(ready=False)
    engine.failure = f"{exports}/toy/3 has altered saved_model.pb"
    model.versions[3].engine = engine
    model.note_end(3, 1)
    assert model.route().versions[3].reason == "toy/3 has altered saved_model.pb"


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
    version.engine.life_s, version.engine.stuck = life_s, stuck
    model.note_end(2, 9)
    version.not_before = 0.0
    settle(model)


@pytest.mark.parametrize(("life_s", "stuck", "hopeless"), [(60, False, False), (60, True, True), (0.1, False, True)])
def test_who_dies_young_or_hangs_again_and_again_is_hopeless(model, life_s, stuck, hopeless):
    for _ in range(10):
        assert not model.is_hopeless()
        end_live(model, life_s=life_s, stuck=stuck)
    assert model.is_hopeless() == hopeless


def test_a_model_that_is_unloaded_while_its_engine_is_down_answers_nobody(model, exports):
    assert model.answers
    model.note_end(2, 9)
    set_loaded(exports, "toy", loaded=False)
    model.look()
    assert not model.answers
