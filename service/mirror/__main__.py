"""Keeps the mirror of an object store up to date. `python -m service.mirror` is started by the supervisor only.

It is a process of its own, since a store may answer slowly, or never: nobody who is served waits for it. One thread
reads the pointers again and again, and another downloads versions, one after the other.
"""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from models.errors import Failed, UserError
from models.process.parent import die_with_parent
from models.store.mirror import Mirror
from models.store.objects import first_line
from service.complaints import Complaint
from service.config import Config
from service.ipc.routes import read_routes
from service.logs import configure_logging
from service.mirror.status import Status, write_status

log = logging.getLogger(__name__)

POLLS_A_LISTING = 5  # pointers are read in every poll, and lists of models and versions in every fifth
FETCH_S = 0.2  # between looks for versions whose files are missing


def main(supervisor: int) -> None:
    die_with_parent(signal.SIGKILL, supervisor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the supervisor
    config = Config.from_environment(os.environ)
    configure_logging(config.log_level, config.log_format)
    runtime = Path(os.environ["STRIATE_RUNTIME"])
    mirror = Mirror(config.folder)
    mirror.clean()
    threading.Thread(target=fetch_again_and_again, args=(mirror, runtime), daemon=True).start()
    poll_again_and_again(mirror, runtime, config.store_poll_s)


def poll_again_and_again(mirror: Mirror, runtime: Path, interval_s: float) -> None:
    complaint, status, polls = Complaint(log), Status(), 0
    while True:
        try:
            mirror.pull(listing=polls % POLLS_A_LISTING == 0)
            status, polls = Status(time.time()), polls + 1
            complaint.is_over()
        except (Failed, UserError, OSError) as error:
            complaint.holds(f"{first_line(error)}; what is here goes on answering")
        except Exception:
            log.exception("the store could not be followed; it is tried again")
        write_status(runtime, status)
        time.sleep(interval_s)


def fetch_again_and_again(mirror: Mirror, runtime: Path) -> None:
    def is_in_use(model: str, version: int) -> bool:
        return version in used.get(model, ())

    while True:
        try:
            routes = read_routes(runtime / "routes.json").models if (runtime / "routes.json").exists() else {}
            used = {name: set(model.versions) for name, model in routes.items()}
            for problem in mirror.fetch(is_in_use):
                log.error("%s", problem)
            mirror.forget_unused(is_in_use)
        except Exception:
            log.exception("versions could not be fetched; it is tried again")
        time.sleep(FETCH_S)


if __name__ == "__main__":
    main(int(sys.argv[1]))
