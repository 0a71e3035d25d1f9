"""One decoder process, as the HTTP worker that has started it sees it."""

import json
import logging
import mmap
import os
import time

import numpy as np
from gevent import socket, subprocess

from models.bundle.preprocessing import InputSpec
from models.process.children import python_command, python_environment
from service.decoder import jobs

log = logging.getLogger(__name__)

PIXEL_BYTES = 1 << 28  # of the largest input that a network may have
SMALL_BYTES = 1 << 20  # memory of larger images is given back to the system in the end
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # their stacks would count as its memory


class DecoderDied(Exception):
    """It was killed, or crashed."""


class DecoderProcess:
    """
    Args:
        max_bytes: of an encoded image.
        heavy: it is for heavy images, and takes processor time that others leave.
    """

    def __init__(self, max_bytes: int, *, heavy: bool) -> None:
        page = mmap.PAGESIZE
        self._pixels_at = (max_bytes + page - 1) // page * page
        memory = os.memfd_create("striate-decoder", os.MFD_CLOEXEC)
        os.ftruncate(memory, self._pixels_at + PIXEL_BYTES)  # pages that are never written take no memory
        self._memory = mmap.mmap(memory, 0)
        self._connection, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._most_bytes = 0  # of the images since the memory was given back
        self.confinement: jobs.Confinement | None = None  # once it is ready
        settings = {
            "worker": os.getpid(),
            "memory": memory,
            "socket": other.fileno(),
            "pixels_at": self._pixels_at,
            "heavy": heavy,
        }
        command = python_command("service.decoder", json.dumps(settings))
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[memory, other.fileno()],
                env=python_environment(os.environ | ONE_THREAD),
            )
        finally:
            os.close(memory)
            other.close()

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

    def decode(
        self, data: bytes, spec: InputSpec, max_pixels: int, *, may_be_heavy: bool
    ) -> tuple[jobs.Result, np.ndarray | None]:
        """What became of an encoded image, and its pixels, uint8 (H, W, C), where it was decoded.

        Raises:
            DecoderDied: meanwhile.
        """
        if self.confinement is None:
            self.confinement = jobs.read_confinement(self._receive())
            log.log(
                logging.DEBUG if self.confinement.system_calls == "filtered" else logging.WARNING,
                "decoder %d: %s",
                self.pid,
                self.confinement,
            )
        self._memory[: len(data)] = data
        job = jobs.Job(len(data), *spec.shape, spec.resize, max_pixels, may_be_heavy)
        try:
            self._connection.send(jobs.encode(job))
        except OSError as error:
            raise DecoderDied from error
        result = jobs.read_result(self._receive())
        self._most_bytes = max(self._most_bytes, len(data))
        if result.ending != "decoded":
            return result, None
        count = spec.height * spec.width * spec.channels
        return result, np.frombuffer(self._memory, np.uint8, count, self._pixels_at).reshape(spec.shape).copy()

    def trim(self) -> None:
        """Give the memory of a large image back to the system; to be called while it has no work."""
        if self._most_bytes > SMALL_BYTES:
            self._memory.madvise(mmap.MADV_REMOVE, 0, self._pixels_at)
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
