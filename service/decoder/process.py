"""One decoder process, as the HTTP worker that has started it sees it."""

import contextlib
import json
import mmap
import os
import time
from typing import TypeVar

import gevent
import msgspec
import numpy as np
from gevent import socket, subprocess

from models.process.children import python_command, python_environment
from models.process.idle import give_way, step_back
from service.decoder import jobs

T = TypeVar("T")
COPIED_BYTES = 1_000_000  # at once; new memory takes 0.7 ms a megabyte
PIXEL_BYTES = 1 << 28  # of the largest input that a network may have
SMALL_BYTES = 1 << 20  # memory of larger images and bodies is given back to the system in the end
DATA_BYTES = 256_000_000  # of memory that a decoder may take beside what it starts with
DATA_PER_BYTE = 50  # of a body; Python's objects for nested lists of small numbers take so much
BODY_NICE = 5  # of a decoder of large bodies: images go first, and it still gets a quarter of a busy core
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # the stacks of more threads would count as its memory
    "OMP_NUM_THREADS": "1",
    # Large buffers go back to the kernel when they are freed. glibc would learn from them to keep larger and larger
    # ones: half a million images, half of them damaged, made a decoder grow from 45 to 85 MB.
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=2000000:glibc.malloc.trim_threshold=2000000",
}


class DecoderDied(Exception):
    """It was killed, or crashed."""


class DecoderProcess:
    """
    Args:
        max_bytes: of an encoded image or a body.
        sort: what it is for; those for heavy images take processor time that others leave.
    """

    def __init__(self, max_bytes: int, sort: jobs.Sort) -> None:
        page = mmap.PAGESIZE
        self._results_at = (max_bytes + page - 1) // page * page
        memory = os.memfd_create("striate-decoder", os.MFD_CLOEXEC)
        # What a body says is not longer than the body. Pages that are never written take no memory.
        os.ftruncate(memory, 2 * self._results_at + PIXEL_BYTES)
        self._memory = mmap.mmap(memory, 0)
        self._connection, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._most_bytes = 0  # of the jobs since the memory was given back
        self.began = time.monotonic()
        self.confinement: jobs.Confinement | None = None  # once it is ready
        settings = {
            "worker": os.getpid(),
            "memory": memory,
            "socket": other.fileno(),
            "results_at": self._results_at,
            "sort": sort,
            "data_bytes": DATA_BYTES + (DATA_PER_BYTE * max_bytes if sort == "body" else 0),
        }
        command = python_command("service.decoder", json.dumps(settings))
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[memory, other.fileno()],
                env=python_environment(os.environ | ENVIRONMENT),
            )
        except OSError:
            self._connection.close()
            self._memory.close()
            raise
        finally:
            os.close(memory)
            other.close()
        # now, so that not even the start of Python disturbs others
        if sort == "heavy":
            give_way(self.pid)
        elif sort == "body":
            with contextlib.suppress(OSError):
                step_back(self.pid, BODY_NICE)

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    def cpu_s(self) -> float:
        """Processor time that it has taken; 0 once it is gone."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # clock_getcpuclockid(3)
        except OSError:
            return 0.0

    def wait_until_ready(self) -> None:
        """
        Raises:
            DecoderDied: before it was.
        """
        if self.confinement is None:
            self.confinement = jobs.read_confinement(self._receive())

    def do(self, data: bytes, job: jobs.Job) -> jobs.Result:
        """What became of a job; what it gave is in the memory until the next.

        Raises:
            DecoderDied: meanwhile.
        """
        view = memoryview(data)
        for at in range(0, len(data), COPIED_BYTES):
            if at:
                gevent.sleep(0)
            part = view[at : at + COPIED_BYTES]
            self._memory[at : at + len(part)] = part
        try:
            self._connection.send(jobs.encode(job))
        except OSError as error:
            raise DecoderDied from error
        result = jobs.read_result(self._receive())
        self._most_bytes = max(self._most_bytes, len(data))
        return result

    def pixels(self, shape: tuple[int, int, int]) -> np.ndarray:
        """A copy of the pixels of the last job, uint8 of this shape."""
        count = shape[0] * shape[1] * shape[2]
        return np.frombuffer(self._memory, np.uint8, count, self._results_at).reshape(shape).copy()

    def said(self, length: int, kind: type[T]) -> T:
        """What the body of the last job says, or why the job was refused."""
        with memoryview(self._memory) as memory:
            return msgspec.msgpack.decode(memory[self._results_at : self._results_at + length], type=kind)

    def trim(self) -> None:
        """Give the memory of a large image or body back to the system; to be called while it has no work."""
        if self._most_bytes > SMALL_BYTES:
            self._memory.madvise(mmap.MADV_REMOVE)
            self._most_bytes = 0

    def kill(self) -> None:
        """End it; whoever waits for it is told so."""
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """End it and wait for its end, before its memory goes."""
        self.kill()
        self._process.wait()
        self._connection.close()
        self._memory.close()

    def _receive(self) -> bytes:
        try:
            message: bytes = self._connection.recv(jobs.MAX_MESSAGE_BYTES)
        except OSError as error:
            raise DecoderDied from error
        if not message:
            raise DecoderDied
        return message
