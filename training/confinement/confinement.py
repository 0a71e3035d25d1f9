"""Runs one of our modules in a process that can do no harm, for work on files that somebody else made.

The protocol between the two sides:

1. `run_confined("package.module", ["a", "b"], folder=F, ...)` starts `python -m training.confinement.confined`. That
   process imports the parent packages of the module, gives up its rights, and only then imports the module itself.
2. It calls the module's `main(arguments)`, with the list of strings. Its current folder is F, and HOME, TMPDIR and
   KERAS_HOME lie in F. It can read the model (`readable`), Python's own files and those of the packages `models` and
   `training`, and write in F only. It can start threads, but no process, and has no network.
3. What `main` returns must be JSON. It is written to F/answer.json as {"answer": ...} and becomes `Confined.answer`.
   Larger results are files that `main` writes below F, which has regular files and folders only: neither links nor
   devices can be made there. Whoever reads them must treat their content as somebody else's.
4. A `UserError` or `Failed` that `main` raises becomes a UserError with the same message here. Any other exception
   becomes a UserError with its type and its message; F/output.txt has its traceback, and all that was printed.

What the kernel cannot deny is named in `Confined.lacks`, for the command to print.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from models.errors import UserError
from models.process.children import own_code

ANSWER, OUTPUT = "answer.json", "output.txt"
LONGEST_ANSWER, LONGEST_MESSAGE, OUTPUT_READ = 16 << 20, 2000, 64 << 10  # bytes, characters, bytes
LARGEST_FILE = 16 << 30  # bytes
LEAST_DISK = 0.1  # of what is free at the beginning
LOOK_EVERY_S = 0.1
PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "TF_ENABLE_ONEDNN_OPTS")
OUT_OF_MEMORY = (b"MemoryError", b"std::bad_alloc", b"Cannot allocate memory", b"OOM when allocating")


class OverLimit(UserError):
    """The confined process was stopped, since it needed more time, memory or disk than it was given."""


@dataclass(frozen=True, slots=True)
class Confined:
    """What the confined process answered.

    Attributes:
        answer: what the module's `main` returned, through JSON; somebody else's data may have made it up.
        lacks: parts of the confinement that this system does not have, a phrase each; empty on a current Linux.
    """

    answer: Any
    lacks: tuple[str, ...]


def run_confined(
    module: str,
    arguments: Sequence[str] = (),
    *,
    folder: Path,
    readable: Sequence[Path] = (),
    seconds: float,
    memory_bytes: int,
    task: str = "Loading the model",
) -> Confined:
    """Call `main(arguments)` of a module in a confined process, and wait for its answer.

    Args:
        module: dotted name of a module below `training` (or another package beside it); not imported here.
        folder: an existing folder, the only one where the process can write; the caller deletes it.
        readable: further files and folders that it can read, which are the model's.
        seconds: wall-clock time it may take.
        memory_bytes: memory that it may have, without that of shared libraries; TensorFlow alone takes 0.6 GB.
        task: what the process does, as the subject of error messages.

    Raises:
        OverLimit: it was stopped for its need of time, memory or disk.
        UserError: the module raised an error, or the process was ended by a signal.
    """
    folder = folder.resolve()
    for name in (ANSWER, OUTPUT):
        (folder / name).unlink(missing_ok=True)
    reader, writer = os.pipe()  # for the report of what could not be confined
    policy = {
        "module": module,
        "arguments": list(arguments),
        "folder": str(folder),
        "readable": [str(path.resolve()) for path in readable],
        "cpu_seconds": int(seconds * (os.cpu_count() or 1)) + 1,
        "memory_bytes": memory_bytes,
        "file_bytes": LARGEST_FILE,
        "report": writer,
        "parent": os.getpid(),
    }
    with (folder / OUTPUT).open("xb+") as output, open(reader, "rb") as report:  # noqa: PTH123 - a descriptor
        try:
            process = start(policy, folder, output)
        finally:
            os.close(writer)
        try:
            lacks = report.read()  # ends before the module is imported
            watch(process, folder, seconds=seconds, memory_bytes=memory_bytes, task=task)
        finally:
            end(process)
        output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_READ))
        said = output.read()
    answer = answer_of(process.returncode, folder, said, task)
    return Confined(answer, tuple(json.loads(lacks)))


def start(policy: dict[str, Any], folder: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Neither the current folder nor the user's own packages are on the path of this Python."""
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "training.confinement.confined", json.dumps(policy)],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=(policy["report"],),
        start_new_session=True,
    )


def environment(folder: Path) -> dict[str, str]:
    """No secret and no proxy of the user's: the variables that are listed, and our own."""
    temporary = tempfile.mkdtemp(prefix=".home-", dir=folder)
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "PYTHONPATH": str(own_code()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": temporary,
        "TMPDIR": temporary,
        "KERAS_HOME": temporary,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def watch(process: subprocess.Popen[bytes], folder: Path, *, seconds: float, memory_bytes: int, task: str) -> None:
    """Wait for the end of the process.

    Raises:
        OverLimit: it needs too much of something.
    """
    deadline = time.monotonic() + seconds
    least = LEAST_DISK * shutil.disk_usage(folder).free
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_EVERY_S)
            return
        if time.monotonic() > deadline:
            raise OverLimit(f"{task} took longer than {seconds:g} s, which is the limit, and was stopped.")
        if memory_of(process.pid) > memory_bytes:
            raise too_much_memory(task)
        if shutil.disk_usage(folder).free < least:
            raise OverLimit(f"{task} has almost filled the disk of {folder}, and was stopped.")


def memory_of(pid: int) -> int:
    """Bytes in memory that belong to this process alone or to no file; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    fields = dict(line.partition(":")[::2] for line in status.splitlines())
    return sum(int(fields.get(name, "0 kB").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process and of those it started, should this system let it start any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answer_of(status: int, folder: Path, said: bytes, task: str) -> Any:
    """
    Raises:
        OverLimit: it ended for want of memory or of processor time.
        UserError: it failed.
    """
    if -status == signal.SIGXCPU:
        raise OverLimit(f"{task} took more processor time than its limit, and was stopped.")
    if status and any(sign in said for sign in OUT_OF_MEMORY):
        raise too_much_memory(task)
    if -status == signal.SIGKILL:
        raise OverLimit(f"{task} was ended from outside, probably because there is not enough memory.")
    if status < 0:
        raise UserError(f"{task} ended with {signal_name(-status)}; the file is damaged or harmful.")
    if status:
        lines = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise UserError(f"{task} failed: {plain(lines[-1])}")
    answer = read_answer(folder / ANSWER, task)
    if "failed" in answer:
        if any(sign in said for sign in OUT_OF_MEMORY):
            raise too_much_memory(task)
        raise UserError(f"{task} failed: {plain(str(answer['failed']))}")
    if "error" in answer:
        raise UserError(plain(str(answer["error"])))
    return answer.get("answer")


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def read_answer(path: Path, task: str) -> dict[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # it may be anything without Landlock
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(LONGEST_ANSWER + 1)
        answer = json.loads(data) if len(data) <= LONGEST_ANSWER else None
    except (OSError, ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise UserError(f"{task} ended without an answer; the file is damaged or harmful.")
    return answer


def too_much_memory(task: str) -> OverLimit:
    return OverLimit(f"{task} needs more memory than its limit, and was stopped.")


def plain(text: str) -> str:
    """On one line, without characters that control a terminal, and not longer than a message should be."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}..."
