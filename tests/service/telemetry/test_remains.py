"""Files of processes that have ended: they go, and what those counted stays."""

import os
import subprocess
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from service.telemetry.exposition import samples_of
from service.telemetry.remains import clear_up


@pytest.fixture
def runtime(tmp_path) -> Path:
    for folder in ("metrics", "drift"):
        (tmp_path / folder).mkdir()
    return tmp_path


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def count(runtime: Path, pid: int, value: float) -> None:
    """Leave what a process with this id would have counted."""
    for kind, name, labels in (
        ("counter", "requests_total", {}),
        ("histogram", "seconds_sum", {}),
        ("histogram", "seconds_bucket", {"le": "1.0"}),
        ("gauge_livesum", "waiting", {}),
        ("gauge_max", "last", {}),
    ):
        file = MmapedDict(str(runtime / "metrics" / f"{kind}_{pid}.db"))
        metric = name.partition("_")[0]
        file.write_value(mmap_key(metric, name, list(labels), list(labels.values()), "help"), value, 0.0)
        file.close()


def totals(runtime: Path) -> dict[str, float]:
    samples = samples_of(MultiProcessCollector(None, str(runtime / "metrics")).collect())
    return {name: sum(value for _, value in found) for name, found in samples.items()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_what_ended_processes_counted_stays_and_their_files_go(runtime):
    alive = os.getpid()
    count(runtime, alive, 1)
    for value in (10, 100):  # one after another
        count(runtime, ended_process(), value)
        before = totals(runtime)
        clear_up(runtime)
        assert totals(runtime) == {**before, "waiting": 1}
    kinds = ("counter", "histogram", "gauge_max")
    mine = {f"{kind}_{alive}.db" for kind in (*kinds, "gauge_livesum")}
    assert names(runtime / "metrics") == {*mine, *(f"{kind}_ended.db" for kind in kinds), "lock"}
    assert totals(runtime) == {
        "requests_total": 111,
        "seconds_sum": 111,
        "seconds_bucket": 111,
        "seconds_count": 111,
        "waiting": 1,
        "last": 100,
    }


def test_files_that_are_named_by_an_ended_process_go_and_those_of_others_stay(runtime):
    alive, gone = os.getpid(), ended_process()
    for pid in (alive, gone):
        (runtime / f"recent-{pid}").touch()
    (runtime / "routes.json").touch()
    clear_up(runtime)
    assert names(runtime) == {f"recent-{alive}", "routes.json"}


def test_a_file_that_was_not_finished_goes_too(runtime):
    (runtime / "metrics" / f"counter_{ended_process()}.db").touch()
    clear_up(runtime)
    assert totals(runtime) == {}
    assert names(runtime / "metrics") == {"counter_ended.db", "lock"}
