"""The supervisor: starts and retires engines as exports/ says, publishes routes.json, runs gunicorn, drains.

It imports neither Flask nor TensorFlow, and is the parent of every other process of the service; when it dies,
the kernel ends them all. Its loop waits for events (an engine's report, a look at the exports, a signal) and never for
the exports' disk, which a thread reads (service.supervisor.repository).
"""

import itertools
import logging
import os
import selectors
import signal
import subprocess
import time

from service.complaints import Complaint
from service.config import Config, without_secrets
from service.http.api_keys import HandedOver
from service.ipc.routes import Routes, write_routes
from service.mirror.process import MirrorProcess
from service.retention import start_pruning
from service.supervisor.announcements import is_listening, log_default, log_settings, print_address
from service.supervisor.engine_pool import EnginePool
from service.supervisor.model import Model, none_can_answer
from service.supervisor.processes import EngineProcess, start_gunicorn
from service.supervisor.repository import LOOK_INTERVAL_S, Interest, Repository
from service.supervisor.runtime import RuntimeDirectory, raise_file_limit
from service.supervisor.wakeup import Wakeup
from service.telemetry.drift import FOLDER as DRIFT_FOLDER

log = logging.getLogger(__name__)

TICK_S = 0.1  # between looks at the clock, for pauses and timeouts; events are handled at once
FIRST_LOOK_S = 5.0  # for the first look at the exports, before the service opens its port without it
SILENT_S = 5.0  # without a look at the exports; then the log says so


class Supervisor:
    """Runs until SIGTERM, SIGINT or SIGHUP, or until gunicorn ends by itself.

    Args:
        needs_key: whether classifying needs an API key.
    """

    def __init__(self, config: Config, *, needs_key: bool = False) -> None:
        self._config = config
        self._needs_key = needs_key
        self._folder = config.folder
        self._directory = RuntimeDirectory()
        self._runtime = self._directory.path
        for folder in ("metrics", DRIFT_FOLDER):
            (self._runtime / folder).mkdir()
        self._keys = HandedOver(config, self._runtime)
        self._next_look_at_keys = 0.0
        self._environment = {
            **without_secrets(os.environ),
            "STRIATE_RUNTIME": str(self._runtime),
            "PROMETHEUS_MULTIPROC_DIR": str(self._runtime / "metrics"),
            # NumPy's products are small here; its other threads would spin for 0.1 s after each, where models compute
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._models: dict[str, Model] = {}
        self._numbers = itertools.count()  # of models, in the order in which they were found
        self._interests: dict[str, Interest] = {}
        self._default: str | None = None  # as default.json in the exports names it
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup()
        self._selector.register(self._wakeup.readable, selectors.EVENT_READ)
        self._mirror = MirrorProcess(config, self._environment)
        self._pool = EnginePool(config, self._models, self._selector, self._runtime, self._environment)
        self._complaint = Complaint(log)
        self._routes: Routes | None = None
        self._stopping = False
        self._announced = False

    def run(self) -> int:
        """The exit status: 0 when it was asked to stop, 1 when gunicorn ended or no model could be kept alive."""
        self._handle_signals()
        raise_file_limit()
        log_settings(self._config)
        self._mirror.keep()
        start_pruning(self._config, self._folder)
        self._repository = Repository(self._folder, self._wakeup.wake, lambda: self._interests)
        try:
            self._await_first_look()
            self._publish_routes()
            gunicorn = start_gunicorn(self._environment)
            while not self._stopping and gunicorn.poll() is None and not none_can_answer(self._models.values()):
                self._tick()
                self._announce()
            return self._end(gunicorn)
        finally:
            self._pool.kill_all()
            self._mirror.kill()
            self._directory.remove()

    def _handle_signals(self) -> None:
        signal.set_wakeup_fd(self._wakeup.writable, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, self._ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # so that the end of gunicorn wakes the loop

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _await_first_look(self) -> None:
        deadline = time.monotonic() + FIRST_LOOK_S
        while not self._take_look() and not self._stopping and time.monotonic() < deadline:
            self._wait()
        if not self._models:
            log.warning("%s has no model yet; one that is published there is taken up", self._config.exports)

    def _tick(self) -> None:
        """Wait for an event or a moment; then do whatever is due."""
        self._wait()
        self._take_look()
        self._follow_keys()
        self._mirror.keep()
        self._pool.kill_stuck()
        self._pool.remove_files_of_ended()
        for model in self._models.values():
            model.follow_pointer()
        self._pool.start_and_retire()
        self._interests = {name: model.interest() for name, model in self._models.items()}
        self._publish_routes()

    def _wait(self) -> None:
        for key, _ in self._selector.select(TICK_S):
            if isinstance(key.data, EngineProcess):
                self._pool.hear(key.data)
            else:
                self._wakeup.clear()

    def _take_look(self) -> bool:
        """Follow what the latest look at the exports has found; whether there was a new one."""
        seen = self._repository.latest()
        if seen is None:
            if self._repository.silent_s > SILENT_S:
                self._complaint.holds(f"{self._config.exports} does not answer; what is loaded goes on answering")
            return False
        for name, model in seen.models.items():
            if name not in self._models and not model.is_gone:
                self._models[name] = Model(self._folder / name, next(self._numbers))
            if name in self._models:
                self._models[name].take(model)
        for name in [name for name, model in self._models.items() if model.has_ended]:
            del self._models[name]
        if seen.error is not None:  # what was read last holds
            self._complaint.holds(seen.error)
        else:
            self._complaint.is_over()
            self._default = seen.default
        return True

    def _follow_keys(self) -> None:
        if time.monotonic() >= self._next_look_at_keys:
            self._next_look_at_keys = time.monotonic() + LOOK_INTERVAL_S
            self._keys.follow()

    def _publish_routes(self) -> None:
        models = {
            name: model.route()
            for name, model in sorted(self._models.items())
            if model.versions or model.pointer.unloaded
        }
        only = next(iter(models)) if len(models) == 1 else None
        routes = Routes(self._config.default_model or self._default or only, models, self._stopping)
        if routes == self._routes:
            return
        try:
            write_routes(self._runtime / "routes.json", routes)
            log_default(self._routes or Routes(), routes)
            self._routes = routes
        except OSError as error:  # tried again at the next tick; until then the workers follow the old one
            log.error("routes.json could not be written: %s", error)
            time.sleep(TICK_S)

    def _announce(self) -> None:
        """Once, when a model answers and the port is open."""
        ready = next((model for model in self._models.values() if model.serving is not None), None)
        if not self._announced and ready is not None and is_listening(self._config):
            self._announced = True
            print_address(self._config, ready, needs_key=self._needs_key)

    def _end(self, gunicorn: subprocess.Popen[bytes]) -> int:
        if gunicorn.poll() is not None:
            log.error("gunicorn ended by itself with status %d", gunicorn.returncode)
            return 1
        self._drain(gunicorn)
        if not self._stopping:
            log.error("no model is left that can be kept alive; see above")
        return 0 if self._stopping else 1

    def _drain(self, gunicorn: subprocess.Popen[bytes]) -> None:
        """Say not ready, then let gunicorn answer what it has; the engines end after that."""
        log.info("draining")
        self._publish_routes()
        refusing = time.monotonic() + self._config.drain_delay_s
        while time.monotonic() < refusing:
            self._tick()
        gunicorn.terminate()
        deadline = time.monotonic() + self._config.stop_timeout_s + 2
        while gunicorn.poll() is None and time.monotonic() < deadline:
            self._tick()
        if gunicorn.poll() is None:
            log.error("gunicorn did not stop within %g s and is killed", self._config.stop_timeout_s)
            gunicorn.kill()
            gunicorn.wait()
        log.info("stopped")
