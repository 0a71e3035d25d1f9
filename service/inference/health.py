"""Whether models answer, asked by sending them an image."""

import time

import gevent
import numpy as np

from service.config import split_list
from service.errors import NotReady, ServiceError
from service.inference.engines import find_version
from service.inference.service import Service


def check_ready(service: Service) -> list[str]:
    """The required models: those that the setting names, or the default one. They answer.

    Where nobody has said which are required, one that answers: a model that is broken is no reason to send no requests
    to the others.

    Raises:
        NotReady: a required one does not, or there is none.
        ServiceError: what its engine said.
    """
    routes = service.engines.routes
    if routes.draining:
        raise NotReady("The service is stopping.")
    required = split_list(service.config.required_models) or [name for name in [routes.default_model] if name]
    for name in required:
        ask_black_image(service, name)
    return required or [first_that_answers(service, [n for n, model in routes.models.items() if not model.unloaded])]


def first_that_answers(service: Service, names: list[str]) -> str:
    """All are asked at once, since one that hangs would be waited for.

    Raises:
        NotReady: there is none.
        ServiceError: what the engine of the last said.
    """
    error: ServiceError = NotReady("No model is published yet.")
    asked = {gevent.spawn(failure_of, service, name): name for name in names}
    for answered in gevent.iwait(asked):
        failure = answered.get()
        if failure is None:
            return asked[answered]
        error = failure
    raise error


def failure_of(service: Service, name: str) -> ServiceError | None:
    try:
        ask_black_image(service, name)
    except ServiceError as error:
        return error
    return None


def ask_black_image(service: Service, name: str, version: int | None = None) -> None:
    """
    Raises:
        NotFound, NotReady: there is no such model, or it has no engine.
        ServiceError: what its engine said.
    """
    number, route = find_version(service.engines.routes, name, version)
    if route.state != "available" or route.input_spec is None:
        raise NotReady(f"The engine of {name} version {number} is {route.state}.")
    error = probe(service, (name, number), np.zeros(route.input_spec.shape, np.uint8)).get()
    if error is not None:
        raise error


def probe(service: Service, target: tuple[str, int], image: np.ndarray) -> gevent.Greenlet:
    """What becomes of an image that is sent to an engine: an error or None. All who ask at a time share one.

    It takes no place in the queue: whoever may not classify must not be able to fill that.
    """

    def send() -> ServiceError | None:
        try:
            service.engines.infer(target, [image], time.monotonic() + service.config.deadline_s)
        except ServiceError as error:
            return error
        return None

    under_way = service.probes.get(target)
    if under_way is None or under_way.ready():
        under_way = service.probes[target] = gevent.spawn(send)
    return under_way
