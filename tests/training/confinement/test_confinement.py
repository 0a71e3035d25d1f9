"""The process in which somebody's model is loaded: what it cannot do, and that TensorFlow works in it."""

import json
import platform
import shutil
import socket
import sys
import threading
from pathlib import Path

import pytest

from models.errors import UserError
from tests.training.confinement import intruder
from training.confinement import confined as inside
from training.confinement import confinement
from training.confinement.confined import python_folders
from training.confinement.confinement import Confined, OverLimit, run_confined
from training.confinement.landlock import OLDEST_ABI, landlock_abi

CONFINED = sys.platform == "linux" and landlock_abi() >= OLDEST_ABI
pytestmark = pytest.mark.skipif(not CONFINED, reason="this kernel has no Landlock of Linux 5.19 or later")
MODULE = "tests.training.confinement.intruder"
GENEROUS = 2 << 30  # bytes
TO_A_FILE = ("write", "append", "empty", "remove", "rename", "take", "hard_link", "symbolic_link")
TO_ITS_ATTRIBUTES = ("change_mode", "change_times")
STARTING = ("run_program", "become_program", "fork")


def confined(
    tmp_path: Path, *arguments: str, seconds: float = 60, memory: int = GENEROUS, readable: tuple[Path, ...] = ()
) -> Confined:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    return run_confined(MODULE, arguments, folder=folder, readable=readable, seconds=seconds, memory_bytes=memory)


def state(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.read_text(), status.st_mode, status.st_mtime_ns


@pytest.mark.parametrize("attempt", [*TO_A_FILE, *TO_ITS_ATTRIBUTES])
def test_no_file_outside_of_the_folder_is_changed(tmp_path: Path, attempt: str) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    before = state(theirs)
    error = confined(tmp_path, "refused", attempt, str(theirs), readable=(theirs,)).answer
    assert error in ("PermissionError", "OSError")
    assert state(theirs) == before
    assert not (tmp_path / "folder" / "linked").is_symlink()


def test_nothing_new_is_made_outside_of_the_folder(tmp_path: Path) -> None:
    assert confined(tmp_path, "refused", "write", str(tmp_path / "new")).answer == "PermissionError"
    assert not (tmp_path / "new").exists()


def test_only_the_model_can_be_read(tmp_path: Path) -> None:
    secret, model = tmp_path / "secret", tmp_path / "model"
    secret.write_text("key")
    model.write_text("weights")
    assert confined(tmp_path, "read", str(model), readable=(model,)).answer == "weights"
    for path in (secret, Path("/etc/passwd"), Path("/proc/1/environ")):
        assert confined(tmp_path, "refused", "read", str(path)).answer == "PermissionError"
    for folder in (tmp_path, Path.home()):
        assert confined(tmp_path, "refused", "list_files", str(folder)).answer == "PermissionError"


def test_no_connection_is_made_to_a_server_that_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        server.settimeout(0.2)
        assert confined(tmp_path, "refused", "connect", port).answer == "PermissionError"
        with pytest.raises(TimeoutError):
            server.accept()
        taken = threading.Thread(target=lambda: server.accept()[0].close())
        taken.start()
        assert intruder.connect(port) == "sent"  # so it was the confinement that prevented it
        taken.join()


def test_no_local_service_is_reached(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        assert confined(tmp_path, "refused", "unix_socket", str(tmp_path / "socket")).answer == "PermissionError"


@pytest.mark.parametrize("attempt", STARTING)
def test_no_program_and_no_process_is_started(tmp_path: Path, attempt: str) -> None:
    canary = tmp_path / "folder" / "canary"
    assert confined(tmp_path, "refused", attempt, str(canary)).answer == "PermissionError"
    assert not canary.exists()
    intruder.run_program(str(canary))
    assert canary.exists()  # where nothing prevents it


@pytest.mark.parametrize("attempt", ["signal_parent", "hidden_memory"])
def test_other_ways_out_are_closed(tmp_path: Path, attempt: str) -> None:
    assert confined(tmp_path, "refused", attempt, "").answer == "PermissionError"


@pytest.mark.skipif("x86" not in platform.machine(), reason="only x86-64 has these numbers")
def test_calls_by_the_numbers_of_another_interface_are_denied(tmp_path: Path) -> None:
    assert confined(tmp_path, "refused", "compatible_call").answer == "PermissionError"


def test_what_libraries_need_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy")
    answer = confined(tmp_path, "everyday_work")
    assert answer.lacks == ()
    assert answer.answer["moved"]
    assert answer.answer["folder"] == str(tmp_path / "folder")
    assert all(answer.answer[name].startswith(str(tmp_path / "folder")) for name in ("HOME", "TMPDIR", "KERAS_HOME"))
    assert not {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} & set(answer.answer["variables"])


def test_keras_and_tensorflow_work_in_it(tmp_path: Path) -> None:
    assert confined(tmp_path, "keras", seconds=200).answer == {"agree": True, "devices": ["CPU"]}


@pytest.mark.parametrize("attempt", ["allocate_for_ever", "share_for_ever"])
def test_one_that_takes_memory_without_end_is_stopped(tmp_path: Path, attempt: str) -> None:
    with pytest.raises(OverLimit, match=r"^Loading the model needs more memory than its limit, and was stopped\.$"):
        confined(tmp_path, attempt, memory=300 << 20)


def test_one_that_runs_for_ever_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(OverLimit, match=r"^Loading the model took longer than 0\.5 s, which is the limit"):
        confined(tmp_path, "sleep_for_ever", seconds=0.5)


def test_one_that_fills_the_disk_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    looked = iter([usage])
    monkeypatch.setattr(confinement.shutil, "disk_usage", lambda _: next(looked, usage._replace(free=1)))
    with pytest.raises(OverLimit, match="has almost filled the disk"):
        confined(tmp_path, "sleep_for_ever")


def test_a_single_file_cannot_become_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "LARGEST_FILE", 3 << 20)
    with pytest.raises(UserError, match="File too large"):
        confined(tmp_path, "write_for_ever")
    assert (tmp_path / "folder" / "large").stat().st_size <= 3 << 20


def test_a_crash_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^Loading the model ended with SIGSEGV; the file is damaged or harmful\.$"):
        confined(tmp_path, "crash")


@pytest.mark.parametrize(
    ("number", "message"),
    [("9", "ended from outside, probably"), ("6", "ended with SIGABRT"), ("40", "with signal 40")],
)
def test_the_signal_is_named(tmp_path: Path, number: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        confined(tmp_path, "signal_itself", number)


def test_the_modules_own_message_arrives(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^The model has no layers\.$"):
        confined(tmp_path, "explain")


def test_another_error_is_its_last_line_without_control_characters(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        confined(tmp_path, "print_and_fail")
    assert str(caught.value) == r"Loading the model failed: KeyError: 'no \x1b[31msuch\nlayer'"
    assert "a warning of a library" in (tmp_path / "folder" / "output.txt").read_text()


@pytest.mark.parametrize("attempt", ["leave", "answer_badly"])
def test_an_end_without_an_answer_is_an_error(tmp_path: Path, attempt: str) -> None:
    with pytest.raises(UserError, match="ended without an answer"):
        confined(tmp_path, attempt)


def test_what_is_printed_is_plain() -> None:
    assert confinement.plain("a\x1b[31m\nb" + "c" * 3000) == "a [31m b" + "c" * 1992 + "..."


def test_the_policy_names_what_is_missing(tmp_path: Path) -> None:
    """The report is what the command prints where a kernel has no Landlock."""
    answer = json.loads(json.dumps(list(inside.give_up_rights({"folder": str(tmp_path)}, platform="darwin"))))
    assert answer == ["files, network, programs and memory are not limited on darwin, only on Linux"]


def test_packages_in_a_folder_that_a_pth_file_names_can_be_read_and_no_other_folder_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, other = tmp_path / "site-packages", tmp_path / "project"
    monkeypatch.setattr("sys.path", [str(packages), str(other), ""])
    assert packages in python_folders()
    assert not {other, Path()} & set(python_folders())
