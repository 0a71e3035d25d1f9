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
from typing import Any

import numpy as np
from PIL import Image, features

from models.bundle.preprocessing import BadImage, HeavyImage, InputSpec, decode_image
from models.process.garbage import spare_what_is_there
from models.process.parent import die_with_parent
from service.decoder import jobs
from service.decoder.sandbox import confine

DATA_BYTES = 256_000_000  # of memory that a decoder may take beside what it starts with
WARM_UP = (  # formats and modes, each of which may make Pillow import something
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(("PNG", mode) for mode in ("RGBA", "LA", "P", "I;16", "1")),
    *(("TIFF", mode) for mode in ("RGB", "LAB", "CMYK", "I;16", "F", "YCbCr")),
    *(("WEBP", "RGBA"), ("GIF", "P"), ("BMP", "RGB")),
)
MUCH_MEMORY = f"The image is damaged, or needs more than {DATA_BYTES:,} bytes of memory to be decoded. Send it smaller."
CPU_S = 60  # of processor time for one image, whatever the worker says: the kernel then ends this process


def main(settings: dict[str, Any]) -> None:
    die_with_parent(signal.SIGKILL, settings["worker"])
    if settings["heavy"]:
        with contextlib.suppress(OSError):  # a container may forbid it; then it takes its share like others
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # below every other priority
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the supervisor
    memory = mmap.mmap(settings["memory"], 0)
    connection = socket.socket(fileno=settings["socket"])
    connection.setblocking(True)
    warm_up()
    spare_what_is_there()
    privileges, calls = confine(DATA_BYTES)
    connection.send(jobs.encode(jobs.Confinement(privileges, calls)))
    while message := connection.recv(jobs.MAX_MESSAGE_BYTES):
        limit_cpu()
        result = decode(jobs.read_job(message), memory, settings["pixels_at"])
        connection.send(jobs.encode(result))


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


def try_decoding(data: bytes) -> None:
    for spec in (InputSpec(4, 4, 3, "crop"), InputSpec(4, 4, 1, "pad")):
        with contextlib.suppress(BadImage):
            decode_image(data, spec)


def limit_cpu() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_S, hard))


def decode(job: jobs.Job, memory: mmap.mmap, pixels_at: int) -> jobs.Result:
    started = time.perf_counter()
    spec = InputSpec(job.height, job.width, job.channels, job.resize)
    try:
        pixels = decode_image(memory[: job.length], spec, max_pixels=job.max_pixels, only_light=not job.may_be_heavy)
    except HeavyImage:
        return jobs.Result("heavy", time.perf_counter() - started)
    except BadImage as error:
        code, message = error.code, str(error)
        if code == "image_invalid" and job.may_be_heavy:  # the library that ran out of memory does not say so
            code, message = "image_too_costly", MUCH_MEMORY
        return jobs.Result("refused", time.perf_counter() - started, code, message)
    np.frombuffer(memory, np.uint8, pixels.size, pixels_at)[:] = pixels.ravel()
    return jobs.Result("decoded", time.perf_counter() - started)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    os._exit(0)
