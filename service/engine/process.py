"""What an engine process does: one model version, from its orders to its end.

Its orders come as JSON over standard input; a spare has imported everything before they come, and reports `waiting`.
It reports to the supervisor in JSON lines over a pipe of their own: `ready`, `failed` with a reason, and a `beat`
every second for as long as it is not stuck in a batch (service.supervisor.processes.REPORTS). A process that is only to
judge a version runs in idle time, reports `judged` and ends: its successor loads the version by that verdict.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from models.process.garbage import spare_what_is_there
from models.process.idle import give_way, in_idle_time, step_back
from models.process.parent import die_with_parent
from service.engine.pace import IN_IDLE_TIME, Pace
from service.logs import configure_logging
from service.machine import available_cores

if TYPE_CHECKING:
    from service.engine.loading import Loaded
    from service.engine.loop import Engine

BEAT_S = 1.0
MODULES = ("service.engine.loading", "service.engine.loop")


def main(text: str, *, is_spare: bool) -> None:
    """
    Args:
        text: JSON of what holds for any engine of this service.
    """
    settings = json.loads(text)
    die_with_parent(signal.SIGKILL, settings["supervisor"])
    configure_logging(settings["log_level"], settings["log_format"])
    os.set_inheritable(settings["reports"], False)  # a closed pipe tells that the engine ended, whatever it started
    report = partial(write_report, settings["reports"])
    kept = wait_as_spare(settings["engine"], report) if is_spare else None
    orders = json.loads(sys.stdin.buffer.read() or "null")
    if orders is None:
        sys.exit("The supervisor, which was to give the orders, is gone.")
    bundle = Path(orders["bundle"])
    name_process(f"engine {orders['version']} {bundle.parent.name}")
    os.environ["CUDA_VISIBLE_DEVICES"] = orders["gpu"] or ""  # CUDA reads it when TensorFlow first looks for a GPU
    if orders["judging"]:
        give_way()
    pace = (
        IN_IDLE_TIME
        if orders["judging"]
        else Pace(considerate=orders["considerate"], has_idle_time=orders["has_idle_time"])
    )
    # Imported here and not above, because it takes processor time that others may need more.
    loading, loop = (pace.at_low_priority(partial(import_module, name)) for name in MODULES)
    try:
        loaded = load(loading, bundle, settings["engine"], orders, pace)
    except Exception as error:  # whatever a broken model makes its loader raise; the supervisor logs it
        report("failed", reason=f"{error}"[:500] or type(error).__name__)
        sys.exit(1)
    verdict = asdict(loaded.verdict(bundle, available_cores()))
    if orders["judging"]:
        report("judged", verdict=verdict)
        leave()
    del kept
    engine: Engine = loop.Engine(loaded, orders["endpoint"], orders["version"], Path(orders["drift"]))
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    backend = loaded.backend
    said = {"precision": backend.precision, "reason": loaded.reason, "threads": backend.threads, "verdict": verdict}
    pace.at_low_priority(spare_what_is_there)
    report("ready", **said, manifest=loaded.manifest.to_json())
    threading.Thread(target=beat, args=(engine, report), daemon=True).start()
    engine.run()
    leave()


def wait_as_spare(engine: str, report: Callable[[str], None]) -> Any:
    """Import what any model needs, in idle time. What is returned keeps libraries loaded that are loaded when used."""
    name_process("spare engine")
    loading, _ = (in_idle_time(partial(import_module, name)) for name in MODULES)
    backend = loading.BACKENDS[engine]
    backend.hold_threads()
    kept = in_idle_time(backend.get_ready)
    in_idle_time(spare_what_is_there)
    report("waiting")
    return kept


def load(loading: Any, bundle: Path, engine: str, orders: dict[str, Any], pace: Pace) -> "Loaded":
    """By the verdict of the process before, where there is one; else, or if that fails, as if for the first time."""
    if orders["verdict"] is not None:
        verdict = loading.Verdict.from_json(orders["verdict"])
        with contextlib.suppress(Exception):  # whatever it is, loading as if for the first time tells it
            loaded: Loaded | None = loading.load_again(bundle, verdict, orders["max_batch_size"], pace)
            if loaded is not None:
                return loaded
    first: Loaded = loading.load(bundle, engine, orders["precision"], orders["max_batch_size"], pace)
    return first


def leave() -> NoReturn:
    """End at once: an orderly shutdown of the interpreter would occupy a core for half a second.

    The kernel takes all memory back then, tens of milliseconds for a large model, so that is done at low priority.
    """
    with contextlib.suppress(OSError):
        for thread in Path("/proc/self/task").iterdir():
            step_back(int(thread.name))
    os._exit(0)


def name_process(name: str) -> None:
    """What `top` shows; Linux keeps 15 bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_bytes(name.encode()[:15])


def write_report(descriptor: int, event: str, **details: Any) -> None:
    """Write one line. If the supervisor has died it is lost, and this process is about to be ended as well."""
    line = json.dumps({"event": event, **details}).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):
        while line:
            line = line[os.write(descriptor, line) :]


def beat(engine: "Engine", report: Callable[[str], None]) -> None:
    while True:
        since = engine.busy_since
        if since is None or time.monotonic() - since < BEAT_S:
            report("beat")
        engine.statistics.write_drift()
        time.sleep(BEAT_S)
