"""Which version answers a request whose engine goes away while its images are decoded."""

from typing import Any

import numpy as np
import pytest
from flask import Flask, g

from models.bundle.preprocessing import InputSpec
from service.errors import EngineGone, NotFound
from service.inference.service import Service, Target
from service.ipc.routes import ModelRoute, Routes, VersionRoute
from service.telemetry.request_record import Record

SPEC = InputSpec(4, 4, 1)


class Engines:
    """Version 1 goes away, and 2 is live, at the moment at which version 1 is asked."""

    def __init__(self) -> None:
        self.routes = self.with_live(1)

    def with_live(self, version: int) -> Routes:
        route = VersionRoute("available", "ipc:///x", class_names=("a", "b"), input_spec=SPEC)
        return Routes("toy", {"toy": ModelRoute(version, {version: route})})


class Asked(Service):
    def __init__(self) -> None:
        self.engines: Any = Engines()
        self.decoded_for: list[int] = []

    def _timeout_s(self) -> float:
        return 10.0

    def _infer(self, chosen: Target, images: list[np.ndarray]) -> np.ndarray:
        if chosen.version == 1:
            self.engines.routes = self.engines.with_live(2)
            raise EngineGone("gone")
        return np.ones((len(images), 2), np.float32)

    def images_for(self, chosen: Target) -> list[np.ndarray]:
        self.decoded_for.append(chosen.version)
        return [np.zeros(SPEC.shape, np.uint8)]


@pytest.fixture
def service():
    with Flask("test").test_request_context():
        g.record = Record("id")
        yield Asked()


def test_another_version_is_chosen_when_the_engine_of_the_first_has_gone(service):
    chosen, images, probabilities = service._ask("toy", None, 10.0, service.images_for)
    assert (chosen.version, len(images), len(probabilities)) == (2, 1, 1)
    assert service.decoded_for == [1, 2]
    assert g.record.version == 2


def test_a_version_that_was_named_is_not_replaced_by_another(service):
    with pytest.raises(NotFound, match="Version 1 of toy is not loaded; loaded are 2"):
        service._ask("toy", 1, 10.0, service.images_for)
