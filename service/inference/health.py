"""Whether models answer, found out by sending an image to their engines."""

import time
from collections.abc import Callable
from typing import Any

import gevent
import numpy as np
from gevent import Greenlet

from service.config import Config, split_list
from service.errors import NotReady, ServiceError
from service.inference.engines import Engines
from service.inference.targets import find_version
from service.ipc import messages
from service.ipc.routes import ModelVersion


class Health:
    """Checks take no places in the queue, so that a client that may not classify cannot fill it."""

    def __init__(self, config: Config, engines: Engines) -> None:
        self._config = config
        self._engines = engines
        self._checks: dict[ModelVersion, Greenlet] = {}  # the latest of each version

    def check_ready(self) -> list[str]:
        """Names of the required models, which answer: those of the setting, or the default model.

        Where neither is set, one model that answers is enough: a broken model is no reason to send no requests to the
        others.

        Raises:
            NotReady: a required model does not answer, or there is no model.
            ServiceError: what the engine of a required model answered.
        """
        routes = self._engines.routes
        if routes.draining:
            raise NotReady("The service is stopping.")
        default = routes.default_model
        is_there = default in routes.models or default == self._config.default_model
        required = split_list(self._config.required_models) or ([default] if default and is_there else [])
        for name in required:
            self.check(name)
        return required or [self._first_that_answers([n for n, model in routes.models.items() if not model.unloaded])]

    def check(self, name: str, version: int | None = None) -> None:
        """Have a version classify a black image; the live version unless one is named.

        Raises:
            NotFound, NotReady: there is no such model or version, or it has no engine.
            ServiceError: what its engine answered.
        """
        number, route = find_version(self._engines.routes, name, version)
        if route.state == "idle":  # it is loaded when it is asked
            return
        if route.state != "available" or route.input_spec is None:
            raise NotReady(f"The engine of {name} version {number} is {route.state}.")
        under_way = self._checks.get((name, number))
        if under_way is None or under_way.ready():  # else requests that come at the same time share one
            images = [np.zeros(route.input_spec.shape, np.uint8)]
            deadline = time.monotonic() + self._config.deadline_s
            under_way = gevent.spawn(failure_of, self._ask, (name, number), images, deadline)
            self._checks[name, number] = under_way
        error = under_way.get()
        if error is not None:
            raise error

    def _ask(self, target: ModelVersion, images: list[np.ndarray], deadline: float) -> None:
        self._engines.infer(target, images, deadline, counts=messages.NOTHING)

    def _first_that_answers(self, names: list[str]) -> str:
        """All are asked at once, because one that hangs would delay the others."""
        error: ServiceError = NotReady("No model is published yet.")
        asked = {gevent.spawn(failure_of, self.check, name): name for name in names}
        for answered in gevent.iwait(asked):
            failure = answered.get()
            if failure is None:
                return asked[answered]
            error = failure
        raise error


def failure_of(action: Callable[..., object], *arguments: Any) -> ServiceError | None:
    """The error that a call raises, as a value: gevent prints every exception that ends a greenlet."""
    try:
        action(*arguments)
    except ServiceError as error:
        return error
    return None
