"""File systems that cannot flush directories, have one mode for every file, or have no locks: SMB, FUSE, old NFS."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from models.files.locks import LocksMissing, locked
from tests.processes import python, start

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
static int fails(const char *name) {
    char *number = getenv(name);
    if (number) errno = atoi(number);
    return number != 0;
}
int fsync(int fd) {
    struct stat status;
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    return !fstat(fd, &status) && S_ISDIR(status.st_mode) && fails("SHIM_FSYNC") ? -1 : real(fd);
}
int flock(int fd, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    return fails("SHIM_FLOCK") ? -1 : real(fd, operation);
}
int chmod(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = dlsym(RTLD_NEXT, "chmod");
    return fails("SHIM_CHMOD") ? -1 : real(path, mode);
}
int fchmod(int fd, mode_t mode) {
    int (*real)(int, mode_t) = dlsym(RTLD_NEXT, "fchmod");
    return fails("SHIM_CHMOD") ? -1 : real(fd, mode);
}
"""
USES = {  # every part of the project that locks something
    "publish": "from models.store.publish import publish; publish(Path('bundle'), Path('exports'))",
    "feedback": "from service.feedback.store import FeedbackStore\n"
    "FeedbackStore(Path('feedback'), max_bytes=10**6).add(b'GIF89a', 'cat')",
    "run": "from training.runs.directory import claim_run\nwith claim_run(Path('runs'), 'toy', {}): pass",
    "score": "from service.scoring.run import parts_of_one_run\nwith parts_of_one_run(Path('out.parts')): pass",
}
FOLDERS = {"publish": "exports/toy", "feedback": "feedback", "run": "runs/toy-", "score": "out.parts"}
TRIES = """
import os, sys
from pathlib import Path

sys.path.insert(0, os.getcwd())
os.chdir(sys.argv[1])
try:
    exec(sys.argv[2])
except OSError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def shim(tmp_path: Path) -> str:
    """A library that, loaded before libc, makes its calls fail as the SHIM_ variables say."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "shim.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"]
    subprocess.run(command, cwd=tmp_path, check=True)
    return str(tmp_path / "shim.so")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_directories_that_cannot_be_flushed_and_modes_that_cannot_be_set_do_no_harm(
    bundle: Path, tmp_path: Path, shim: str, use: str, number: int
) -> None:
    variables = {"LD_PRELOAD": shim, "SHIM_FSYNC": str(number), "SHIM_CHMOD": str(errno.EPERM)}
    tried = start("-c", TRIES, tmp_path, USES[use], log=tmp_path / "log", **variables)
    assert tried.wait(60) == 0, (tmp_path / "log").read_text()


@pytest.mark.parametrize(("use", "folder"), FOLDERS.items())
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_folder_without_locks_is_named_and_what_to_do_is_said(
    bundle: Path, tmp_path: Path, shim: str, use: str, folder: str, number: int
) -> None:
    tried = start("-c", TRIES, tmp_path, USES[use], log=tmp_path / "log", LD_PRELOAD=shim, SHIM_FLOCK=str(number))
    assert tried.wait(60) == 1
    (said,) = (tmp_path / "log").read_text().splitlines()
    assert said.startswith(f"The file system of {folder}")
    assert "has no file locks" in said
    assert "Use a folder on a local disk" in said


def test_a_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file", tmp_path / "folder"):
        code = "import os, sys; from pathlib import Path; from models.files.locks import locked\n"
        folder = path.is_dir()
        taken = f"with locked(Path({str(path)!r}), folder={folder}, wait=False)"
        with locked(path, folder=folder) as got:
            assert got
            python("-c", code + taken + " as got: sys.exit(got)")
        python("-c", code + taken + ": os.abort()", status=-6)
        with locked(path, folder=folder, wait=False) as got:
            assert got


def test_the_lock_of_a_folder_that_is_gone_makes_no_file_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "folder", folder=True, wait=False):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "lock", os.open

    def removed_at_once(*arguments: object) -> int:
        descriptor = real(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(os, "open", real)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", removed_at_once)
    with locked(path, wait=False) as got:
        assert not got
    monkeypatch.setattr(os, "open", removed_at_once)
    with locked(path) as got:
        assert got
        assert path.exists()


def test_for_programs_a_missing_lock_is_an_os_error_without_a_path(tmp_path: Path) -> None:
    """What is told to clients over HTTP says nothing of the disk."""
    error = LocksMissing(errno.ENOLCK, tmp_path)
    assert (error.errno, error.strerror) == (errno.ENOLCK, "No locks available")
