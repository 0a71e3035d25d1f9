"""A decoder process. `python -m service.decoder` is started by an HTTP worker only; see `service.decoder.jobs`."""

import contextlib
import io
import json
import mmap
import os
import resource
import signal
import socket
import sys
import time
import traceback
from typing import Any

import numpy as np
from PIL import Image, features

from models.bundle.preprocessing import BadImage, HeavyImage, InputSpec, decode_image
from models.process.garbage import spare_what_is_there
from models.process.parent import die_with_parent
from service.decoder import jobs
from service.decoder.sandbox import confine
from service.errors import ServiceError, Unprocessable
from service.parsing.kinds import KINDS

LIGHT_VALUES = 200_000  # of a body take about 0.1 s
WARM_UP = (  # formats and modes, each of which may make Pillow import something
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(("PNG", mode) for mode in ("RGBA", "LA", "P", "I;16", "1")),
    *(("TIFF", mode) for mode in ("RGB", "LAB", "CMYK", "I;16", "F", "YCbCr")),
    *(("WEBP", "RGBA"), ("GIF", "P"), ("BMP", "RGB")),
)
CHARSETS = (b"ascii", b"us-ascii", b"utf-8", b"iso-8859-1")  # of a form's fields; Werkzeug knows no others
MUCH_MEMORY = "The image is damaged, or needs more than {:,} bytes of memory to be decoded. Send it smaller."
MUCH_MEMORY_FOR_BODY = (
    "The body needs more than {:,} bytes of memory to be parsed. Send fewer numbers, or images as encoded files."
)
CPU_S = 60  # of processor time for one job, whatever the worker says: the kernel then ends this process


def main(settings: dict[str, Any]) -> None:
    die_with_parent(signal.SIGKILL, settings["worker"])
    is_idle = lower_priority(settings["sort"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the supervisor
    memory = mmap.mmap(settings["memory"], 0)
    connection = socket.socket(fileno=settings["socket"])
    connection.setblocking(True)
    warm_up()
    warm_up_parsing()
    spare_what_is_there()
    confinement = confine(settings["data_bytes"])
    connection.send(jobs.encode(jobs.Confinement(*confinement, is_idle)))
    desk = Desk(memory, settings["results_at"], settings["data_bytes"])
    while message := connection.recv(jobs.MAX_MESSAGE_BYTES):
        limit_cpu()
        connection.send(jobs.encode(desk.do(jobs.read_job(message))))


def lower_priority(sort: jobs.Sort) -> bool | None:
    """Whether this process takes only time that others leave, as its worker asked the kernel; None where it did not."""
    if sort != "heavy":
        return None
    return os.sched_getscheduler(0) == os.SCHED_IDLE


def warm_up() -> None:
    """Have Pillow load all that it loads when it is first used: later no file can be opened."""
    Image.init()
    features.get_supported()
    for kind, mode in WARM_UP:
        file = io.BytesIO()
        Image.new(mode, (9, 9)).save(file, kind)
        try_decoding(file.getvalue())
        try_decoding(file.getvalue()[:-9])
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "TIFF", compression="tiff_lzw")
    for data in (file.getvalue(), b"", b"<svg"):
        try_decoding(data)


def warm_up_parsing() -> None:
    """Have every parser import what it imports when it is first used, also where it refuses a body."""
    form = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="a"%b\r\nContent-Type: text/plain; charset=%b\r\n\r\nx\xff\r\n'
    parts = [part % (file, charset) for file in (b"", b"; filename*=utf-8''x") for charset in CHARSETS]
    for body in (b"".join(parts) + b"--b--\r\n", b"--b\r\n", b"\xff"):
        try_parsing("form", body, form, 9, 999)
    image, pixels = b'"YQ=="', b"[[[[1]]]]"
    for kind, body in (
        ("images", b'{"images": [%b]}' % image),
        ("feedback", b'{"label": "a", "image": %b}' % image),
        ("predict", b'{"instances": [{"b64": %b}]}' % image),
        ("predict", b'{"instances": %b}' % pixels),
        ("classify", b'{"examples": [{"image": {"b64": %b}}]}' % image),
        ("infer", b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1], "data": [1]}]}'),
    ):
        arguments = {"feedback": (), "infer": (None, "a", 9)}.get(kind, (9,))
        for tried in (
            body,
            body[:-1],
            b"[1]",
            b"\xff",
            b'{"a": "\\ud800\\ud83d\\ude00"}',
            b"[" * 9999,
            b"[1e999, NaN]",
        ):
            try_parsing(kind, tried, *arguments)


def try_parsing(kind: str, body: bytes, *arguments: Any) -> None:
    with contextlib.suppress(ServiceError):
        jobs.encode(KINDS[kind].read(body, *arguments))


def try_decoding(data: bytes) -> None:
    for spec in (InputSpec(4, 4, 3, "crop"), InputSpec(4, 4, 1, "pad")):
        with contextlib.suppress(BadImage):
            decode_image(data, spec)


def limit_cpu() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_S, hard))


class Desk:
    """Does jobs whose data lie in the memory, and puts there what comes of them.

    Args:
        results_at: where in the memory.
        data_bytes: of memory that this process may take; for the message that they were too few.
    """

    def __init__(self, memory: mmap.mmap, results_at: int, data_bytes: int) -> None:
        self._memory = memory
        self._results_at = results_at
        self._data_bytes = data_bytes

    def do(self, job: jobs.Job) -> jobs.Result:
        started = time.perf_counter()
        try:
            length = self._decode(job) if isinstance(job, jobs.ImageJob) else self._parse(job)
            ending: jobs.Ending = "done"
        except HeavyImage:
            length, ending = 0, "heavy"
        except (BadImage, ServiceError) as error:
            status = error.status if isinstance(error, ServiceError) else 0
            length, ending = self._put(jobs.encode(jobs.Refusal(str(error), error.code, status))), "refused"
        except Exception:
            traceback.print_exc()  # into the log
            length, ending = 0, "failed"
        return jobs.Result(ending, time.perf_counter() - started, length)

    def _decode(self, job: jobs.ImageJob) -> int:
        spec = InputSpec(job.height, job.width, job.channels, job.resize)
        data = self._memory[: job.length]
        try:
            pixels = decode_image(data, spec, max_pixels=job.max_pixels, only_light=not job.may_be_heavy)
        except BadImage as error:
            if error.code == "image_invalid" and job.may_be_heavy:  # what ran out of memory does not say so
                raise BadImage(MUCH_MEMORY.format(self._data_bytes), code="image_too_costly") from None
            raise
        np.frombuffer(self._memory, np.uint8, pixels.size, self._results_at)[:] = pixels.ravel()
        return int(pixels.size)

    def _parse(self, job: jobs.BodyJob) -> int:
        body = self._memory[: job.length]
        if not job.may_be_heavy and body.count(b",") > LIGHT_VALUES:
            raise HeavyImage
        try:
            return self._put(jobs.encode(KINDS[job.kind].read(body, *job.arguments)))
        except MemoryError:
            if not job.may_be_heavy:  # a decoder of large bodies may take more
                raise HeavyImage from None
            message = MUCH_MEMORY_FOR_BODY.format(self._data_bytes)
            raise Unprocessable(message, code="body_too_costly") from None

    def _put(self, result: bytes) -> int:
        self._memory[self._results_at : self._results_at + len(result)] = result
        return len(result)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    os._exit(0)
