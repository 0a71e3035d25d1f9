"""What processes that have ended leave behind in the service's private directory: files named by their ids.

    metrics/<kind>_<pid>.db         what it counted: added to metrics/<kind>_ended.db, so that no count falls
    recent-<pid>                    removed

Whichever HTTP worker looks first clears up. What an engine leaves beside its socket is the supervisor's to remove.
"""

import logging
import re
import struct
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from models.files.locks import locked

log = logging.getLogger(__name__)

METRICS = "metrics"
METRIC_FILE = re.compile(r"(?P<kind>counter|histogram|gauge_[a-z]+)_(?P<pid>[0-9]+)\.db")
RECENT = re.compile(r"recent-(?P<pid>[0-9]+)")
LIVE = "gauge_live"  # kinds that hold only while the process lives
HIGHEST = "gauge_max"
LATEST = "gauge_mostrecent"


def clear_up(runtime: Path) -> None:
    """Add up and remove; does nothing while another worker does so or somebody reads: files would count twice."""
    metrics = runtime / METRICS
    with locked(metrics / "lock", wait=False) as is_ours:
        if not is_ours:
            return
        for path, kind in ended(metrics, METRIC_FILE):
            if not kind.startswith(LIVE):
                add_up(path, kind)
            path.unlink(missing_ok=True)
        for path, _ in ended(runtime, RECENT):
            path.unlink(missing_ok=True)


def ended(folder: Path, pattern: re.Pattern[str]) -> list[tuple[Path, str]]:
    """(file, its kind), of processes that are no more."""
    found = [(path, pattern.fullmatch(path.name)) for path in folder.iterdir()]
    return [
        (path, match.groupdict().get("kind", ""))
        for path, match in found
        if match and not Path("/proc", match["pid"]).exists()
    ]


def add_up(path: Path, kind: str) -> None:
    """What a process counted goes to what all before it did; of a time, the latest stays."""
    total = MmapedDict(str(path.with_name(f"{kind}_ended.db")))
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):
            before, then = total.read_value(key)
            if kind == LATEST:
                total.write_value(key, value if timestamp >= then else before, max(timestamp, then))
            else:
                total.write_value(key, max(before, value) if kind == HIGHEST else before + value, timestamp)
    except (RuntimeError, ValueError, struct.error) as error:  # it was killed before it had written anything sound
        log.error("%s cannot be read and is removed: %s", path, error)
    finally:
        total.close()
