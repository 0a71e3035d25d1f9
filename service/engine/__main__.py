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
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from models.process.parent import die_with_parent
from service.engine.pace import Pace
from service.logs import configure_logging

if TYPE_CHECKING:
    from service.engine.loop import Engine

BEAT_S = 1.0


def main(settings: dict[str, Any]) -> None:
    die_with_parent(signal.SIGKILL, settings["supervisor"])
    configure_logging(settings["log_level"], settings["log_format"])
    reports = Reports(settings["reports"])
    pace = Pace(considerate=settings["considerate"])
    backends, engines = pace.at_low_priority(import_what_computes)
    bundle = Path(settings["bundle"])
    try:
        loaded = backends.load(bundle, settings["engine"], settings["precision"], settings["max_batch_size"], pace)
    except Exception as error:  # whatever a broken model makes its loader raise; the supervisor says it aloud
        reports.send("failed", reason=f"{error}"[:500] or type(error).__name__)
        sys.exit(1)
    engine: Engine = engines.Engine(loaded, settings["endpoint"], settings["version"])
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    backend = loaded.backend
    reports.send("ready", precision=backend.precision, threads=backend.threads, manifest=loaded.manifest.to_json())
    threading.Thread(target=beat, args=(engine, reports), daemon=True).start()
    engine.run()
    os._exit(0)  # taking everything apart first would cost others a core for half a second


def import_what_computes() -> tuple[ModuleType, ModuleType]:
    """Here and not above, for it takes time that others may need more."""
    from service.engine import loading, loop

    return loading, loop


class Reports:
    """The way to the supervisor: `descriptor` is the writing end of its pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)  # a closed pipe says that the engine has ended, whatever it has started

    def send(self, event: str, **details: Any) -> None:
        """Write one line. If the supervisor has died it is lost, and this process is about to be ended as well."""
        line = json.dumps({"event": event, **details}).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._descriptor, line) :]


def beat(engine: "Engine", reports: Reports) -> None:
    while True:
        since = engine.busy_since
        if since is None or time.monotonic() - since < BEAT_S:
            reports.send("beat")
        time.sleep(BEAT_S)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
