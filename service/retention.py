"""Deletes old versions now and then, in a thread of the supervisor, where the settings limit what is kept."""

import logging
import threading
import time
from pathlib import Path

from models.errors import Failed, UserError
from models.process.lazy import imported_when_used
from service.complaints import Complaint
from service.config import Config

with imported_when_used():
    import models.store.prune as pruning

log = logging.getLogger(__name__)

FIRST_S, INTERVAL_S = 60.0, 3600.0


def start_pruning(config: Config, exports: Path) -> None:
    """Does nothing where no limit is set."""
    if config.retain_versions or config.retain_days or config.retain_bytes:
        threading.Thread(target=prune_again_and_again, args=(config, exports), daemon=True).start()


def prune_again_and_again(config: Config, exports: Path) -> None:
    retention = pruning.Retention(config.retain_versions, config.retain_days, config.retain_bytes)
    complaint = Complaint(log)
    time.sleep(FIRST_S)
    while True:
        try:
            for each in pruning.prune(exports, retention):
                log.info("%s version %d was deleted: %s", each.model, each.version, each.reason)
            complaint.is_over()
        except (Failed, UserError, OSError) as error:
            complaint.holds(f"old versions cannot be deleted: {error}")
        except Exception:
            log.exception("old versions could not be deleted; it is tried again")
        time.sleep(INTERVAL_S)
