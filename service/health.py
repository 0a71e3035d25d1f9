"""Whether models answer, asked by sending them an image."""

import contextlib
import time

import numpy as np

from service.engines import find_version
from service.errors import NotReady, Overloaded
from service.serving import Service


def check_ready(service: Service) -> list[str]:
    """The models that answer: the default one, or where there is none every model that is not unloaded.

    Raises:
        NotReady: one does not, or there is none.
        ServiceError: what its engine said.
    """
    routes = service.engines.routes
    if routes.draining:
        raise NotReady("The service is stopping.")
    loaded = [name for name, model in routes.models.items() if not model.unloaded]
    names = [routes.default_model] if routes.default_model else loaded
    if not names:
        raise NotReady("No model is published yet.")
    for name in names:
        ask_black_image(service, name)
    return names


def ask_black_image(service: Service, name: str, version: int | None = None) -> None:
    """
    Raises:
        NotFound, NotReady: there is no such model, or it has no engine.
        ServiceError: what its engine said.
    """
    engines = service.engines
    number, route = find_version(engines.routes, name, version)
    if route.state != "available" or route.input_spec is None:
        raise NotReady(f"The engine of {name} version {number} is {route.state}.")
    image = np.zeros(route.input_spec.shape, np.uint8)
    with contextlib.suppress(Overloaded), engines.places(name, 1):  # a full queue is a sign of life
        engines.infer((name, number), [image], time.monotonic() + service.config.deadline_s)
