"""Which version of which model answers a request."""

import hashlib
import math
import random
from dataclasses import dataclass

from models.bundle.preprocessing import InputSpec
from service.config import Config
from service.errors import NotFound, NotReady
from service.http.images import whole_number
from service.inference.engines import Engines
from service.ipc.routes import ModelRoute, Routes, VersionRoute
from service.placement.usage import Usage
from service.telemetry.request_record import record

UNKNOWN_LOAD_S = 5.0  # of a model that has not been loaded yet
TIMEOUT_HEADER = "X-Request-Timeout-Ms"


@dataclass(frozen=True, slots=True)
class Target:
    """The version that answers a whole request, even if another goes live meanwhile."""

    name: str
    version: int
    route: VersionRoute
    deadline: float  # in seconds of CLOCK_MONOTONIC

    @property
    def spec(self) -> InputSpec:
        assert self.route.input_spec is not None  # find_version says so
        return self.route.input_spec


class Targets:
    """Chooses by the routes as they are now, and by the headers of the present request."""

    def __init__(self, config: Config, engines: Engines, usage: Usage) -> None:
        self._config = config
        self._engines = engines
        self._usage = usage

    def default_model(self) -> str:
        """
        Raises:
            NotReady: no model is published.
            NotFound: several models are published and none is the default, or the default is not published.
        """
        routes = self._engines.routes
        names = ", ".join(routes.models)
        if not names:
            raise NotReady("No model is published yet.")
        if routes.default_model is None:
            raise NotFound(
                f"There are several models and no default: POST to /models/<name>/classify, name one of {names}."
            )
        if routes.default_model not in routes.models:
            raise NotFound(
                f"The default model, {routes.default_model}, is not published here: POST to /models/<name>/classify, "
                f"name one of {names}, or have the operator make one of them the default."
            )
        return routes.default_model

    def check(self, name: str, version: int | None) -> None:
        """Refuse a request that would get no answer, before its body is read.

        Raises:
            NotFound, NotReady: as `find_version`.
            BadRequest: the timeout in the request's header is not a number of milliseconds.
        """
        number, route = find_version(self._engines.routes, name, version)
        record().model, record().version = name, number
        self._note_use(name, route)
        self._timeout_s()

    def _note_use(self, name: str, route: VersionRoute) -> None:
        """Say that a model is asked, which loads one that has no engine.

        Raises:
            NotReady: it has none, and requests do not wait for that.
        """
        self._usage.note(self._engines.routes.models[name].number)
        if route.state == "idle" and self._config.when_unloaded == "refuse":
            load_s = route.description.get("load_seconds") or UNKNOWN_LOAD_S
            raise NotReady(f"{name} is being loaded, since it was unloaded.", retry_after_s=math.ceil(load_s))

    def find(self, name: str, version: int | None = None) -> Target:
        """The version that is named, else the live one; for requests that classify nothing.

        Raises:
            NotFound, NotReady, BadRequest: as `check`.
        """
        number, route = find_version(self._engines.routes, name, version)
        return Target(name, number, route, self.deadline())

    def choose(self, name: str, version: int | None, timeout_s: float = math.inf) -> Target:
        """The version that classifies: the one that is named, else the live one, or the canary for its share.

        Args:
            timeout_s: the protocol's own timeout for this request; the shortest of all timeouts holds.

        Raises:
            NotFound, NotReady, BadRequest: as `check`.
        """
        routes = self._engines.routes
        model = routes.models.get(name)
        if version is None and model is not None:
            version = self._canary(model)
        number, route = find_version(routes, name, version)
        record().version = number
        return Target(name, number, route, record().began + min(self._timeout_s(), timeout_s))

    def deadline(self) -> float:
        """Of the present request, in seconds of CLOCK_MONOTONIC."""
        return record().began + self._timeout_s()

    def _timeout_s(self) -> float:
        """The service's timeout, or the one in the request's header if that is shorter."""
        asked = record().headers.get(TIMEOUT_HEADER)
        if asked is None:
            return self._config.deadline_s
        return min(self._config.deadline_s, whole_number(TIMEOUT_HEADER, asked, 999_999_999) / 1000)

    def _canary(self, model: ModelRoute) -> int | None:
        """The canary's number if it answers this request: it is up, and the request falls into its share."""
        number = model.labels.get("canary")
        route = model.versions.get(number) if number is not None else None
        if route is None or route.state != "available":
            return None
        key = record().headers.get(self._config.canary_header) if self._config.canary_header else None
        # By a key, the same number in [0, 1) in every worker.
        drawn = random.random() if key is None else int(hashlib.sha256(key.encode()).hexdigest()[:16], 16) / 2**64
        return number if drawn < model.canary_fraction else None


def find_version(routes: Routes, name: str, version: int | None) -> tuple[int, VersionRoute]:
    """The version of a model that answers: the one that is named, else the live one.

    Raises:
        NotFound: there is no such model, or no such version of it.
        NotReady: the version has not answered yet, or the model was unloaded.
    """
    model = routes.models.get(name)
    if model is None:
        raise NotFound(f"There is no model of this name; there are {', '.join(routes.models) or 'none yet'}.")
    if model.unloaded:
        raise NotReady(f"{name} was unloaded. Load it again, or promote a version.")
    number = model.live if version is None else version
    if number is None:
        raise NotReady(f"No version of {name} is live yet.")
    route = model.versions.get(number)
    if route is None or (route.state == "rejected" and version is not None):
        loaded = [str(n) for n, v in model.versions.items() if v.state in ("available", "restarting", "idle")]
        raise NotFound(f"Version {number} of {name} is not loaded; loaded are {', '.join(loaded) or 'none'}.")
    if route.state == "rejected":
        raise NotReady(f"Version {number} of {name} cannot be loaded: see GET /models/{name}.")
    if route.state == "idle" and number != model.live:
        raise NotReady(f"Version {number} of {name} has no engine, as its memory is needed for what answers.")
    if route.state == "parked":
        raise NotReady(f"Version {number} of {name} cannot be kept running: see GET /models/{name}.", retry_after_s=30)
    if route.input_spec is None:
        raise NotReady(f"Version {number} of {name} is {route.reason or 'loading'}.")
    return number, route
