"""What the machine could do without HTTP: the same decoder and the same engine in one process.

`python -m benchmarks.ceiling BUNDLE IMAGE CONNECTIONS SECONDS` prints one JSON line. As many images are under way
as there are connections; one thread a core decodes, the main thread computes batches of whoever waits.
"""

import json
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from models.bundle.preprocessing import InputSpec, decode_image
from service.engine.loading import Loaded, load
from service.machine import available_cores


def throughput(loaded: Loaded, data: bytes, spec: InputSpec, connections: int, seconds: float) -> float:
    """Images/s, decoding and computing at once."""
    slots = threading.Semaphore(connections)
    decoded: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    stopping = threading.Event()

    def decode() -> None:
        while not stopping.is_set():
            slots.acquire()
            decoded.put(decode_image(data, spec))

    sizes = loaded.sizes()
    threads = [threading.Thread(target=decode, daemon=True) for _ in range(available_cores())]
    for thread in threads:
        thread.start()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        first = decoded.get()
        waiting = 1 + decoded.qsize()
        size = sizes.best(waiting)
        batch = [first, *(decoded.get() for _ in range(min(size, waiting) - 1))]
        padding = [np.zeros_like(first)] * (size - len(batch))
        began = time.monotonic()
        loaded.backend.infer(np.stack(batch + padding))
        sizes.observe(size, time.monotonic() - began)
        done += len(batch)
        slots.release(len(batch))
    rate = done / (time.perf_counter() - started)
    stopping.set()
    slots.release(len(threads))
    return rate


def median_ms(work: Callable[[], object], seconds: float) -> float:
    times = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * median(times)


def main(bundle: Path, image: Path, connections: int, seconds: float) -> None:
    loaded = load(bundle, "openvino", "auto", max_batch_size=32)
    backend, spec, data = loaded.backend, loaded.manifest.input_spec, image.read_bytes()
    decoded = decode_image(data, spec)[None]
    if connections == 1:
        figures = {
            "decode_ms": median_ms(lambda: decode_image(data, spec), seconds / 3),
            "inference_ms": median_ms(lambda: backend.infer(decoded), seconds / 3),
            "both_ms": median_ms(lambda: backend.infer(decode_image(data, spec)[None]), seconds / 3),
        }
    else:
        figures = {"images_per_s": throughput(loaded, data, spec, connections, seconds)}
    print(json.dumps({**figures, "precision": backend.precision}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
