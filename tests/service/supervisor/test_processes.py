"""Where an engine process starts, what is taken for its report, and what for chatter of a library."""

import json
import os
import select
import stat
import sys

import pytest

from models.bundle.manifest import Manifest
from models.bundle.preprocessing import InputSpec
from service.config import Config
from service.placement.devices import Device
from service.supervisor.processes import EngineProcess, Orders, read_report

MANIFEST = Manifest("toy", "toy", ("a", "b"), InputSpec(4, 4, 1), {})
READY = {
    **{"event": "ready", "precision": "float32", "reason": "the only one here", "threads": 1, "verdict": {}},
    "manifest": MANIFEST.to_json(),
}


@pytest.mark.parametrize(
    "line",
    [
        *(b"0", b"null", b"[]", b"{}", b'"ready"', b"[" * 100_000, b'{"event": "x"}', b'{"event": []}', b"\xff"),
        *(b'Loading... {"event": "ready"}', b'{"event": "ready"}', b'{"event": "failed", "reason": 1}'),
        json.dumps({**READY, "manifest": {"model": "toy"}}).encode(),
    ],
)
def test_what_has_not_the_form_of_a_report_is_none(line):
    assert read_report(line) is None


def test_reports_are_read():
    assert read_report(b'{"event": "beat"}') == {"event": "beat"}
    assert read_report(json.dumps(READY).encode()) == {**READY, "manifest": MANIFEST}


TALKATIVE = """\
#!{python}
import json, os, sys

reports = json.loads(sys.argv[-1])["reports"]
os.write(1, b"0\\nnull\\n")
os.write(reports, b"null\\n")
os.write(reports, b'{ready}\\n')
"""


def test_what_a_library_prints_in_an_engine_is_no_report_and_ends_nothing(tmp_path, monkeypatch, capfd):
    program = tmp_path / "python"
    program.write_text(TALKATIVE.format(python=sys.executable, ready=json.dumps(READY)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    engine = EngineProcess(Config(), dict(os.environ), (0,))
    while engine.read_reports():
        assert select.select([engine.pipe], [], [], 20)[0], "the engine neither reports nor ends"
    assert engine.ready == {**READY, "manifest": MANIFEST}
    assert engine.reap() == 0
    assert capfd.readouterr().err.startswith("0\nnull\n")


def test_a_reason_for_a_rejection_names_no_folder_of_this_machine(tmp_path, monkeypatch):
    bundle = tmp_path / "exports" / "toy" / "3"
    program = tmp_path / "python"
    said = json.dumps({"event": "failed", "reason": f"{bundle} has altered saved_model.pb"})
    program.write_text(TALKATIVE.format(python=sys.executable, ready=said))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    engine = EngineProcess(Config(), dict(os.environ), (0,))
    engine.give(Orders(bundle, 3, "/nowhere", Device("cpu", (0,))))
    while engine.read_reports():
        assert select.select([engine.pipe], [], [], 20)[0], "the engine neither reports nor ends"
    engine.reap()
    assert engine.failure == "toy/3 has altered saved_model.pb"


@pytest.mark.parametrize("is_idle", [False, True])
def test_an_engine_is_started_on_the_cores_of_its_device_and_in_idle_time_on_half_of_them(
    tmp_path, monkeypatch, is_idle
):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    ours = sorted(os.sched_getaffinity(0))
    engine = EngineProcess(Config(), dict(os.environ), ours[:2], is_idle=is_idle)
    try:
        assert os.sched_getaffinity(engine.pid) == set(ours[:2][len(ours[:2]) // 2 :] if is_idle else ours[:2])
        assert sorted(os.sched_getaffinity(0)) == ours
    finally:
        engine.kill()
        engine.reap()
