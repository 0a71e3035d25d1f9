"""The private directory of a running service, in a /dev/shm that other containers share, or that cannot be used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from service.supervisor import runtime
from service.supervisor.runtime import RuntimeDirectory, make_locked
from tests.harness import golden_image, running_service
from tests.processes import ROOT, environment

STARTS_AND_DIES = (
    "import os; from pathlib import Path; from service.supervisor.runtime import make_locked; {}; os._exit(0)"
)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /dev/shm."""
    monkeypatch.setattr(runtime, "MEMORY", tmp_path / "memory")
    (tmp_path / "memory").mkdir()
    return tmp_path / "memory"


def test_the_directory_is_private_and_removed_at_the_end(memory: Path) -> None:
    directory = RuntimeDirectory()
    assert directory.path.parent == memory
    assert directory.path.stat().st_mode & 0o777 == 0o700
    directory.remove()
    assert not list(memory.iterdir())


def test_a_starting_service_removes_what_dead_ones_left_and_nothing_of_running_ones(memory: Path) -> None:
    """Whatever their process numbers: in another container other processes have them."""
    running, lock = make_locked(memory)
    renumbered = running.rename(memory / "striate-999999999-elsewhere")
    code = STARTS_AND_DIES.format(f"print(make_locked(Path({str(memory)!r}))[0])")
    dead = Path(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip())
    other = memory / "striate-gate-other"  # another program's, with a name like ours
    other.mkdir()
    assert dead.is_dir()
    starting = memory / ".striate-starting-x"  # it may die before it has its name
    starting.mkdir()
    (starting / "lock").touch()
    directory = RuntimeDirectory()
    assert sorted(memory.iterdir()) == sorted([renumbered, other, directory.path])
    os.close(lock)
    directory.remove()


@pytest.mark.parametrize("trouble", ["missing", "full", "read-only"])
def test_where_memory_cannot_be_used_the_temporary_folder_is_and_that_is_said(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    monkeypatch.setattr(runtime.tempfile, "gettempdir", lambda: str(tmp_path))
    if trouble == "missing":
        memory.rmdir()
    elif trouble == "full":
        real = os.posix_fallocate

        def full(descriptor: int, offset: int, length: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(memory):
                raise OSError(28, "No space left on device")
            real(descriptor, offset, length)

        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(runtime.tempfile, "mkdtemp", refusing(memory))
    directory = RuntimeDirectory()
    assert directory.path.parent == tmp_path
    assert not memory.exists() or not list(memory.iterdir())
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{memory} cannot be used (")
    assert str(directory.path) in said
    directory.remove()


def refusing(folder: Path):  # type: ignore[no-untyped-def]
    real = runtime.tempfile.mkdtemp

    def mkdtemp(**arguments: object) -> str:
        if arguments["dir"] == folder:
            raise OSError(30, "Read-only file system")
        return real(**arguments)

    return mkdtemp


def test_two_containers_that_share_memory_leave_each_other_alone(digits_exports: Path, tmp_path: Path) -> None:
    """Each in a namespace of its own, where the other's process numbers mean nothing."""
    unshare = shutil.which("unshare")
    alone = [unshare or "unshare", "--pid", "--fork", "--mount-proc"]
    if unshare is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no process namespaces can be made here")
    with running_service(digits_exports, tmp_path) as service:
        code = "from service.supervisor.runtime import RuntimeDirectory; RuntimeDirectory().remove()"
        subprocess.run([*alone, sys.executable, "-c", code], cwd=ROOT, env=environment(), check=True)
        answer = requests.post(service.url + "/classify", data=golden_image(digits_exports), timeout=10)
        assert answer.status_code == 200
        for path in ("/readyz", "/metrics"):
            assert requests.get(service.url + path, timeout=10).status_code == 200
