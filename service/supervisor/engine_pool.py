"""The engine processes of all models: started, heard, killed when they hang, and cleaned up after."""

import contextlib
import logging
import selectors
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from service.config import Config
from service.ipc import messages
from service.machine import choose_engine
from service.placement.devices import Device
from service.supervisor.model import Model
from service.supervisor.processes import EngineProcess, Orders
from service.supervisor.residence import Residence
from service.supervisor.spare import Spare
from service.supervisor.version import FREE_RESTARTS

log = logging.getLogger(__name__)

RETRY_START_S = 1.0  # after a process could not be started
KEEP_FILES_S = 60.0  # after an engine's end: the HTTP workers read there what it was computing
RETIRE_TIMEOUT_S = 30.0  # for a retired engine to finish its images
SETTLED_S = 1.0  # after an engine is ready: its first batches are slow, and a spare does not start beside them
PATIENCE_S = 10.0  # with a process that works in idle time, before it is looked whether there is enough of that
ENOUGH_IDLE_TIME = 0.1  # of a core


class EnginePool:
    """
    Args:
        models: by name; the pool keeps no list of engines beside it.
        selector: in which each engine's pipe is registered, with the engine as its data.
    """

    def __init__(
        self,
        config: Config,
        models: dict[str, Model],
        selector: selectors.BaseSelector,
        runtime: Path,
        environment: dict[str, str],
    ) -> None:
        self._config = config
        self._models = models
        self._selector = selector
        self._runtime = runtime
        self._environment = environment
        self._residence = Residence(config, runtime)
        self._spare = Spare(config, self._residence.devices, selector, environment)
        # TensorFlow warms up in the process that computes, and two of them may not fit on a GPU
        self._judges = choose_engine(config.engine)[0] == "openvino"
        self._num_started = 0
        self._ended: deque[tuple[float, str]] = deque()  # when, and the engine's endpoint

    def start_and_retire(self) -> None:
        """Have the engines that the models want, and a spare once they are up."""
        self._residence.settle(self._models)
        for model in self._models.values():
            for engine in model.to_retire():
                engine.retire()
            for number, device in model.to_start():
                if self._residence.has_room(self._models, model.versions[number], device):
                    self._start(model, number, device)
        is_new = any(engine.answered_for_s() < SETTLED_S for _, _, engine in self._engines())
        if not is_new and any(model.answers for model in self._models.values()):
            self._spare.start_if_missing()

    def hear(self, engine: EngineProcess) -> None:
        """Read what an engine has reported; its pipe is readable."""
        if self._spare.hear(engine):
            return
        was_ready = engine.ready is not None
        alive = engine.read_reports()
        model, number = next((m, n) for m, n, e in self._engines() if e is engine)
        if engine.ready is not None and not was_ready:
            model.versions[number].note_ready(engine)
        if not alive:
            self._selector.unregister(engine.pipe)
            model.note_end(number, engine, engine.reap())
            self._ended.append((time.monotonic(), engine.endpoint))

    def kill_stuck(self) -> None:
        """Kill engines that load, are silent or are retiring for too long."""
        now = time.monotonic()
        for model, number, engine in self._engines():
            loading = engine.ready is None and now - engine.started > engine.load_timeout_s
            silent = engine.ready is not None and now - engine.last_beat > self._config.hang_timeout_s
            lingering = engine.retired is not None and now - engine.retired > RETIRE_TIMEOUT_S
            if engine.needs_idle_time and (loading or is_starved(engine, now)):
                log.info("%s: there is too little idle time; it is loaded without", model.versions[number].label)
                engine.stuck = True
                engine.kill()
            elif loading or silent or lingering:
                what = "loading" if loading else "silent" if silent else "retiring"
                log.error("%s: engine %d was %s too long", model.versions[number].label, engine.pid, what)
                engine.stuck = True
                engine.kill()

    def remove_files_of_ended(self) -> None:
        """Delete the sockets of engines whose end all HTTP workers have noticed by now."""
        while self._ended and time.monotonic() - self._ended[0][0] > KEEP_FILES_S:
            _, endpoint = self._ended.popleft()
            for path in (Path(endpoint), messages.computing_file(endpoint)):
                path.unlink(missing_ok=True)

    def kill_all(self) -> None:
        for _, _, engine in self._engines():
            engine.kill()
        self._spare.kill()

    def _start(self, model: Model, number: int, device: Device) -> None:
        self._num_started += 1
        version = model.versions[number]
        considerate = self._is_considerate(model, number)
        orders = Orders(
            bundle=model.home / str(number),
            version=number,
            endpoint=f"{self._runtime}/engine-{self._num_started}",
            device=device,
            considerate=considerate,
            has_idle_time=version.judging_s > 0 and not version.lacks_idle_time,
            judging=considerate and version.verdict is None and not version.lacks_idle_time and self._judges,
            verdict=version.verdict,
        )
        try:
            engine = self._process_for(orders)
        except OSError as error:  # no memory or no process to be had now
            log.error("%s: no engine could be started: %s", version.label, error)
            version.not_before = time.monotonic() + RETRY_START_S
            return
        version.engines.append(engine)
        if orders.judging:
            log.info("%s: process %d verifies it in idle time (%s)", version.label, engine.pid, engine.engine)
        else:
            log.info("%s: engine %d starts (%s)", version.label, engine.pid, engine.engine)

    def _process_for(self, orders: Orders) -> EngineProcess:
        """The spare, or a new process where there is none; one that judges is always a new one.

        Raises:
            OSError: there is no memory or no process to be had now.
        """
        spare = None if orders.judging else self._spare.take()
        if spare is not None:
            with contextlib.suppress(OSError):  # it has just ended
                spare.give(orders)
                return spare
            self._selector.unregister(spare.pipe)
            spare.reap()
        engine = EngineProcess(self._config, self._environment, orders.device.cores, is_idle=orders.judging)
        try:
            engine.give(orders)
        except OSError:
            engine.reap()
            raise
        self._selector.register(engine.pipe, selectors.EVENT_READ, engine)
        return engine

    def _is_considerate(self, model: Model, number: int) -> bool:
        """Whether an engine loads in processor time that others leave.

        It does while any model answers, unless its own version is the one that should and has not crashed repeatedly.
        """
        is_urgent = number == model.serving and model.versions[number].crashes <= FREE_RESTARTS
        return not is_urgent and any(other.answers for other in self._models.values())

    def _engines(self) -> Iterator[tuple[Model, int, EngineProcess]]:
        for model in self._models.values():
            for number, version in list(model.versions.items()):
                for engine in list(version.engines):
                    yield model, number, engine


def is_starved(engine: EngineProcess, now: float) -> bool:
    """Whether a process that works in idle time gets too little of it."""
    age = now - engine.started
    return age > PATIENCE_S and engine.cpu_s() < ENOUGH_IDLE_TIME * age
