"""The engine process: one model version. `python -m service.engine_process` is started by the supervisor only.

It reports to the supervisor in JSON lines on its standard output: `ready`, `failed` with a reason, and a `beat`
every second for as long as it is not stuck in a batch.
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

from service.logs import configure_logging
from service.machine import die_with_parent
from service.pace import Pace

if TYPE_CHECKING:
    from service.engine import Engine

BEAT_S = 1.0


def main(settings: dict[str, Any]) -> None:
    die_with_parent(signal.SIGKILL)
    configure_logging(settings["log_level"], settings["log_format"])
    pace = Pace(considerate=settings["considerate"])
    backends, engines = pace.aside(import_what_computes)
    bundle = Path(settings["bundle"])
    try:
        loaded = backends.load(bundle, settings["engine"], settings["precision"], settings["max_batch_size"], pace)
    except Exception as error:  # whatever a broken model makes its loader raise; the supervisor says it aloud
        report("failed", reason=f"{error}"[:500] or type(error).__name__)
        sys.exit(1)
    engine: Engine = engines.Engine(loaded, settings["endpoint"], settings["version"])
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    backend = loaded.backend
    report("ready", precision=backend.precision, threads=backend.threads)
    threading.Thread(target=beat, args=(engine,), daemon=True).start()
    engine.run()
    os._exit(0)  # taking everything apart first would cost others a core for half a second


def import_what_computes() -> tuple[ModuleType, ModuleType]:
    """Here and not above, for it takes time that others may need more."""
    from service import backends, engine

    return backends, engine


def report(event: str, **details: Any) -> None:
    """One line to the supervisor; it is gone if there is nobody to read it, and so are we soon."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps({"event": event, **details}).encode() + b"\n")


def beat(engine: "Engine") -> None:
    while True:
        since = engine.busy_since
        if since is None or time.monotonic() - since < BEAT_S:
            report("beat")
        time.sleep(BEAT_S)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
