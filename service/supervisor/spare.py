"""The spare engine process: it has imported what engines need and waits for its orders; one for all models.

There is none where devices have different cores: a process keeps to those on which it was started.
"""

import logging
import selectors
import time
from collections.abc import Collection

from service.config import Config
from service.placement.devices import Device
from service.supervisor.processes import EngineProcess

log = logging.getLogger(__name__)

PAUSE_S = 30.0  # after a spare could not be started, or ended by itself


class Spare:
    """
    Args:
        selector: in which the pipe of the spare is registered, with the process as its data.
    """

    def __init__(
        self,
        config: Config,
        devices: Collection[Device],
        selector: selectors.BaseSelector,
        environment: dict[str, str],
    ) -> None:
        self._config = config
        self._cores = {device.cores for device in devices}
        self._selector = selector
        self._environment = environment
        self._process: EngineProcess | None = None
        self._not_before = 0.0

    def start_if_missing(self) -> None:
        if self._process is not None or len(self._cores) > 1 or time.monotonic() < self._not_before:
            return
        try:
            (cores,) = self._cores
            self._process = EngineProcess(self._config, self._environment, cores, is_spare=True)
        except OSError as error:
            log.debug("no spare engine process could be started: %s", error)
            self._not_before = time.monotonic() + PAUSE_S
            return
        self._selector.register(self._process.pipe, selectors.EVENT_READ, self._process)
        log.debug("spare engine process %d starts", self._process.pid)

    def take(self) -> EngineProcess | None:
        """The spare, if it has imported everything; it is an engine from now on."""
        process = self._process
        if process is None or not process.waits:
            return None
        self._process = None
        return process

    def hear(self, engine: EngineProcess) -> bool:
        """Read what the spare has reported; False: this is not the spare."""
        if engine is not self._process:
            return False
        had_waited = engine.waits
        is_alive = engine.read_reports()
        if engine.waits and not had_waited:
            log.debug("spare engine process %d waits", engine.pid)
        if not is_alive:
            self._selector.unregister(engine.pipe)
            log.debug("spare engine process %d ended with status %d", engine.pid, engine.reap())
            self._process, self._not_before = None, time.monotonic() + PAUSE_S
        return True

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
