"""Which version answers a request whose engine goes away while its images are decoded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle.preprocessing import InputSpec
from service.config import Config
from service.errors import EngineGone, NotFound
from service.inference.engines import Answers
from service.inference.service import Service
from service.inference.targets import Target, Targets
from service.ipc.routes import ModelRoute, Routes, VersionRoute
from service.placement.usage import Usage
from service.telemetry.request_record import Record, record

SPEC = InputSpec(4, 4, 1)


class Engines:
    """Version 1 goes away, and version 2 becomes live, at the moment at which version 1 is asked."""

    def __init__(self) -> None:
        self.routes = self.with_live(1)

    def with_live(self, version: int) -> Routes:
        route = VersionRoute("available", ("/x",), class_names=("a", "b"), input_spec=SPEC)
        return Routes("toy", {"toy": ModelRoute(version, {version: route})})

    def infer(self, target: tuple[str, int], images: list[np.ndarray], deadline: float, *, counts: int) -> Answers:
        if target[1] == 1:
            self.routes = self.with_live(2)
            raise EngineGone("gone")
        return Answers(np.ones((len(images), 2), np.float32), None, 0.0, 0.0, 0.0)


class ServiceWithoutProcesses(Service):
    def __init__(self, runtime: Path) -> None:
        self.engines: Any = Engines()
        self.targets = Targets(Config(), self.engines, Usage(runtime))
        self.decoded_for: list[int] = []

    def images_for(self, target: Target) -> list[np.ndarray]:
        self.decoded_for.append(target.version)
        return [np.zeros(SPEC.shape, np.uint8)]


@pytest.fixture
def service(tmp_path):
    Record("POST", "/classify", {})
    return ServiceWithoutProcesses(tmp_path)


def test_another_version_is_chosen_when_the_engine_of_the_first_has_gone(service):
    target, images, probabilities = service._ask("toy", None, 10.0, service.images_for)
    assert (target.version, len(images), len(probabilities)) == (2, 1, 1)
    assert service.decoded_for == [1, 2]
    assert record().version == 2


def test_a_version_that_was_named_is_not_replaced_by_another(service):
    with pytest.raises(NotFound, match="Version 1 of toy is not loaded; loaded are 2"):
        service._ask("toy", 1, 10.0, service.images_for)
