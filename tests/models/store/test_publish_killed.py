"""Publishing is killed or raced: the old live version or the new one answers, and never half of one."""

import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from models.store.live import read_live
from models.store.origin import collect_garbage, new_folder
from models.store.publish import publish
from tests.bundles import verified_versions
from tests.processes import start

BEFORE_RENAME = ("staged", "copied", "verified")
AFTER_POINTING = ("pointed", "recorded")
DIES = """
import os, signal, sys
from pathlib import Path
from models.store.publish import publish

def die(step):
    if step == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

publish(Path(sys.argv[1]), Path(sys.argv[2]), on_step=die)
"""
PUBLISHES = """
import sys
from pathlib import Path
from models.store.publish import publish

Path(sys.argv[3]).touch()
for _ in range(int(sys.argv[4])):
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("step", [*BEFORE_RENAME, "renamed", *AFTER_POINTING])
def test_a_kill_after_any_step_leaves_the_old_state_or_the_new(bundle: Path, exports: Path, step: str) -> None:
    home = exports / "toy"
    publish(bundle, exports)
    killed = start("-c", DIES, bundle, exports, step, log=exports / "log")
    assert killed.wait(60) == -signal.SIGKILL, (exports / "log").read_text()
    assert verified_versions(home) == ([1] if step in BEFORE_RENAME else [1, 2])
    assert read_live(home).live == (2 if step in AFTER_POINTING else 1)
    new = publish(bundle, exports)
    assert new == verified_versions(home)[-1]
    assert read_live(home).live == new


def test_a_kill_at_any_moment_leaves_only_complete_versions(bundle: Path, exports: Path) -> None:
    home, rng = exports / "toy", random.Random(1)
    publish(bundle, exports)
    for i in range(6):
        begun = exports / f"begun-{i}"
        publisher = start("-c", PUBLISHES, bundle, exports, begun, 1000, log=exports / "log")
        wait_for(begun, publisher)
        time.sleep(rng.uniform(0, 0.1))
        publisher.kill()
        publisher.wait()
        versions = verified_versions(home)
        assert read_live(home).live in versions[-2:]
        assert publish(bundle, exports) > versions[-1]


def test_two_publishers_at_once_both_land_under_different_numbers(bundle: Path, exports: Path) -> None:
    exports.mkdir()
    arguments = [(exports / f"begun-{i}", exports / f"log-{i}") for i in range(2)]
    publishers = [start("-c", PUBLISHES, bundle, exports, begun, 10, log=log) for begun, log in arguments]
    for publisher, (_, log) in zip(publishers, arguments, strict=True):
        assert publisher.wait(60) == 0, log.read_text()
    assert verified_versions(exports / "toy") == list(range(1, 21))
    assert read_live(exports / "toy").live == 20


def test_a_folder_that_another_publisher_took_for_a_leftover_is_made_again(
    exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = tempfile.mkdtemp, []

    def collected_at_once(**arguments: str | Path) -> str:
        made.append(real(**arguments))
        if len(made) == 1:
            collect_garbage(exports / "toy")
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", collected_at_once)
    with new_folder(exports / "toy") as staging:
        assert [path.name for path in (exports / "toy").iterdir()] == [staging.name]
        assert staging.is_dir()
        assert len(made) == 2


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
