"""The mirroring process as the supervisor has it: started with the service, and again whenever it has ended."""

import logging
import os
import subprocess
import time

from models.process.children import python_command, python_environment
from models.store.origin import is_address
from service.config import Config

log = logging.getLogger(__name__)

STANDARD_ERROR = 2
PAUSE_S = 2.0  # before it is started again


class MirrorProcess:
    """Nothing, where the exports are a folder."""

    def __init__(self, config: Config, environment: dict[str, str]) -> None:
        self._is_wanted = is_address(config.exports)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0

    def keep(self) -> None:
        """Start it where it is not running."""
        if not self._is_wanted or time.monotonic() < self._not_before:
            return
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None:
            log.error("the mirroring process ended with status %d; it is started again", self._process.returncode)
        self._not_before = time.monotonic() + PAUSE_S
        try:
            self._process = subprocess.Popen(
                python_command("service.mirror", str(os.getpid())),
                stdin=subprocess.DEVNULL,
                stdout=STANDARD_ERROR,
                env=python_environment(self._environment),
                process_group=0,
            )
        except OSError as error:  # no memory or no process to be had now
            log.error("the mirroring process could not be started: %s", error)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
