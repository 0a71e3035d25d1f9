"""The supervisor: watches exports/, starts and retires engines, publishes routes.json, runs gunicorn, drains.

It imports neither Flask nor TensorFlow, and is the parent of every other process of the service; when it dies,
the kernel ends them all.
"""

import contextlib
import logging
import os
import resource
import selectors
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterator

from models.bundle.manifest import GOLDEN, BrokenBundle
from models.store.default import read_default
from models.store.layout import list_models
from service.config import Config, is_loopback, without_secrets
from service.http.api_keys import HandedOver
from service.ipc import messages
from service.ipc.routes import Routes, write_routes
from service.machine import choose_engine, num_decoders, num_workers
from service.supervisor.complaints import Complaint
from service.supervisor.model import FREE_RESTARTS, Model, none_can_answer
from service.supervisor.processes import EngineProcess, start_gunicorn
from service.supervisor.runtime import RuntimeDirectory
from service.telemetry.drift import FOLDER as DRIFT_FOLDER

log = logging.getLogger(__name__)

TICK_S = 0.05
RETRY_START_S = 1.0
KEEP_FILES_S = 60.0  # of an engine that has ended
RETIRE_TIMEOUT_S = 30.0  # an engine that has not finished its queue by then never will


class Supervisor:
    """Runs until SIGTERM, SIGINT or SIGHUP, or until gunicorn ends by itself.

    Args:
        needs_key: whether classifying needs an API key.
    """

    def __init__(self, config: Config, *, needs_key: bool = False) -> None:
        self._config = config
        self._needs_key = needs_key
        self._directory = RuntimeDirectory()
        self._runtime = self._directory.path
        for folder in ("metrics", DRIFT_FOLDER):
            (self._runtime / folder).mkdir()
        self._keys = HandedOver(config, self._runtime)
        self._environment = {
            **without_secrets(os.environ),
            "STRIATE_RUNTIME": str(self._runtime),
            "PROMETHEUS_MULTIPROC_DIR": str(self._runtime / "metrics"),
        }
        self._models: dict[str, Model] = {}
        self._selector = selectors.DefaultSelector()
        self._num_started = 0
        self._stopping = False
        self._announced = False
        self._next_look = 0.0
        self._routes: Routes | None = None
        self._complaint = Complaint(log)
        self._default: str | None = None  # as default.json in the exports names it
        self._ended: deque[tuple[float, str]] = deque()  # when, and the endpoint of the engine

    def run(self) -> int:
        """The exit status: 0 when it was asked to stop, 1 when gunicorn ended or no model could be kept alive."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, self._ask_to_stop)
        raise_file_limit()
        log.info("settings: %s", ", ".join(f"{name}={value}" for name, value in self._config.shown().items()))
        log.info(
            "%d HTTP processes, %s decoding threads in each", num_workers(self._config), num_decoders(self._config)
        )
        if self._config.feedback_open:
            who = "everybody on this machine" if is_loopback(self._config.host) else "everybody who may classify"
            log.warning("feedback is open (SERVICE_FEEDBACK_OPEN=1): %s may label images for training", who)
        log.info("engine %s: %s", *choose_engine(self._config.engine))
        try:
            self._look()
            if not self._models:
                log.warning("%s has no model yet; one that is published there is taken up", self._config.exports)
            self._publish_routes()
            gunicorn = start_gunicorn(self._environment)
            while not self._stopping and gunicorn.poll() is None and not none_can_answer(self._models.values()):
                self._tick()
                self._announce()
            return self._end(gunicorn)
        finally:
            for _, _, engine in self._engines():
                engine.kill()
            self._directory.remove()

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _tick(self) -> None:
        """Wait a moment for engines to report; then do whatever that, the clock or exports/ asks for."""
        for key, _ in self._selector.select(TICK_S):
            self._hear(key.data)
        if time.monotonic() >= self._next_look:
            self._look()
            self._keys.follow()
        self._kill_stuck()
        for model in self._models.values():
            model.follow_pointer()
            for engine in model.to_retire():
                engine.retire()
            for number in model.to_start():
                self._start(model, number)
        self._publish_routes()

    def _look(self) -> None:
        self._next_look = time.monotonic() + self._config.poll_interval_s
        self._remove_files_of_ended()
        try:
            for name in list_models(self._config.exports):
                self._models.setdefault(name, Model(self._config.exports / name))
            for model in self._models.values():
                model.look()
            self._default = read_default(self._config.exports)
            self._complaint.is_over()
        except BrokenBundle as error:  # what was read last holds
            self._complaint.holds(str(error))
        except OSError as error:  # a file system that is away for a while; what is loaded goes on answering
            self._complaint.holds(f"{self._config.exports} cannot be read: {error}")

    def _start(self, model: Model, number: int) -> None:
        self._num_started += 1
        endpoint = f"ipc://{self._runtime}/engine-{self._num_started}"
        try:
            engine = EngineProcess(
                self._config,
                model.home / str(number),
                number,
                endpoint,
                self._environment,
                considerate=self._gives_way(model, number),
            )
        except OSError as error:  # no memory or no process to be had now
            log.error("%s version %d: no engine could be started: %s", model.home.name, number, error)
            model.versions[number].not_before = time.monotonic() + RETRY_START_S
            return
        model.versions[number].engine = engine
        self._selector.register(engine.pipe, selectors.EVENT_READ, engine)
        log.info("%s version %d: engine %d starts (%s)", model.home.name, number, engine.pid, engine.engine)

    def _gives_way(self, model: Model, number: int) -> bool:
        """Whether an engine is to load in the time that others leave: while a model answers, unless the engine is the
        one that clients wait for and has not crashed again and again."""
        is_urgent = number == model.serving and model.versions[number].crashes <= FREE_RESTARTS
        return not is_urgent and any(other.answers for other in self._models.values())

    def _hear(self, engine: EngineProcess) -> None:
        was_ready = engine.ready is not None
        alive = engine.read_reports()
        model, number = next((m, n) for m, n, e in self._engines() if e is engine)
        if engine.ready is not None and not was_ready:
            model.note_ready(number)
        if not alive:
            self._selector.unregister(engine.pipe)
            model.note_end(number, engine.reap())
            self._ended.append((time.monotonic(), engine.endpoint))

    def _remove_files_of_ended(self) -> None:
        """Of engines whose end all HTTP workers have noticed, who read there what it was computing."""
        while self._ended and time.monotonic() - self._ended[0][0] > KEEP_FILES_S:
            _, endpoint = self._ended.popleft()
            for path in (messages.socket_file(endpoint), messages.computing_file(endpoint)):
                path.unlink(missing_ok=True)

    def _kill_stuck(self) -> None:
        now = time.monotonic()
        for model, number, engine in self._engines():
            loading = engine.ready is None and now - engine.started > engine.load_timeout_s
            silent = engine.ready is not None and now - engine.last_beat > self._config.hang_timeout_s
            lingering = engine.retired is not None and now - engine.retired > RETIRE_TIMEOUT_S
            if loading or silent or lingering:
                what = "loading" if loading else "silent" if silent else "retiring"
                log.error("%s version %d: engine %d was %s too long", model.home.name, number, engine.pid, what)
                engine.stuck = True
                engine.kill()

    def _engines(self) -> Iterator[tuple[Model, int, EngineProcess]]:
        for model in self._models.values():
            for number, version in list(model.versions.items()):
                if version.engine is not None:
                    yield model, number, version.engine

    def _publish_routes(self) -> None:
        models = {
            name: model.route() for name, model in sorted(self._models.items()) if model.versions or model.is_unloaded
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
        """Once, when a model answers and the port is open: the page, and a command that works as pasted.

        Where a key is needed, a placeholder stands for it.
        """
        ready = next((model for model in self._models.values() if model.serving is not None), None)
        if self._announced or ready is None or not accepts(self._config):
            return
        self._announced = True
        url = f"http://{self._config.address}"
        golden = ready.home / str(ready.serving) / GOLDEN / "0"
        key = "-H 'X-API-Key: YOUR-KEY' " if self._needs_key else ""
        curl = f"curl {key}--data-binary @{golden} {url}/models/{ready.home.name}/classify"
        with contextlib.suppress(OSError):  # nobody reads our standard output any more
            print(f"Striate answers at {url}/\n\n  {curl}\n", flush=True)

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
        self._tick_until(time.monotonic() + self._config.drain_delay_s)
        gunicorn.terminate()
        deadline = time.monotonic() + self._config.stop_timeout_s + 2
        while gunicorn.poll() is None and time.monotonic() < deadline:
            self._tick()
        if gunicorn.poll() is None:
            log.error("gunicorn did not stop within %g s and is killed", self._config.stop_timeout_s)
            gunicorn.kill()
            gunicorn.wait()
        log.info("stopped")

    def _tick_until(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            self._tick()


def log_default(before: Routes, after: Routes) -> None:
    """Say which model answers requests that name none where that, or the models there are, have changed."""
    new = after.models.keys() - before.models.keys()
    if not new and after.default_model == before.default_model:
        return
    if after.default_model is None:
        log.warning("there are %d models and no default: python -m service default MODEL", len(after.models))
    elif after.default_model not in after.models:
        log.warning("the default model, %s, is not published: /classify answers 404", after.default_model)
    else:
        others = sorted(new - {after.default_model})
        beside = f"; {', '.join(others)} answer at /models/<name>/classify" if others else ""
        log.info("the default model is %s%s", after.default_model, beside)


def raise_file_limit() -> None:
    """A connection is a file; use all that we may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def accepts(config: Config) -> bool:
    try:
        socket.create_connection((config.host, config.port), timeout=0.2).close()
    except OSError:
        return False
    return True
