"""The engine process: one model version. `python -m service.engine` is started by the supervisor only.

It reports to the supervisor in JSON lines over a pipe of their own: `ready`, `failed` with a reason, and a `beat`
every second for as long as it is not stuck in a batch (service.supervisor.processes.REPORTS).
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
from typing import TYPE_CHECKING, Any

from models.process.garbage import spare_what_is_there
from models.process.parent import die_with_parent
from service.engine.pace import Pace
from service.logs import configure_logging

if TYPE_CHECKING:
    from service.engine.loop import Engine

BEAT_S = 1.0
MODULES = ("service.engine.loading", "service.engine.loop")


def main(settings: dict[str, Any]) -> None:
    die_with_parent(signal.SIGKILL, settings["supervisor"])
    configure_logging(settings["log_level"], settings["log_format"])
    os.set_inheritable(settings["reports"], False)  # a closed pipe tells that the engine ended, whatever it started
    report = partial(write_report, settings["reports"])
    pace = Pace(considerate=settings["considerate"])
    # Imported here and not above, because it takes processor time that others may need more.
    loading, loop = (pace.at_low_priority(partial(import_module, name)) for name in MODULES)
    bundle = Path(settings["bundle"])
    try:
        loaded = None
        if settings["verdict"] is not None:
            verdict = loading.Verdict.from_json(settings["verdict"])
            with contextlib.suppress(Exception):  # whatever it is, loading as if for the first time tells it
                loaded = loading.load_again(bundle, verdict, settings["max_batch_size"], pace)
        if loaded is None:
            loaded = loading.load(bundle, settings["engine"], settings["precision"], settings["max_batch_size"], pace)
    except Exception as error:  # whatever a broken model makes its loader raise; the supervisor logs it
        report("failed", reason=f"{error}"[:500] or type(error).__name__)
        sys.exit(1)
    engine: Engine = loop.Engine(loaded, settings["endpoint"], settings["version"], Path(settings["drift"]))
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    backend = loaded.backend
    verdict = asdict(loaded.verdict(bundle))
    said = {"precision": backend.precision, "reason": loaded.reason, "threads": backend.threads, "verdict": verdict}
    report("ready", **said, manifest=loaded.manifest.to_json())
    spare_what_is_there()
    threading.Thread(target=beat, args=(engine, report), daemon=True).start()
    engine.run()
    os._exit(0)  # an orderly shutdown of the interpreter would occupy a core for half a second


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


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
