"""A model and the files it classifies: threads read and decode them while it computes those before."""

import json
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.bundle.manifest import MANIFEST, Task
from models.bundle.preprocessing import BadImage, InputSpec, decode_image
from models.bundle.reference import at_least
from models.files.durable import sha256
from service.engine.loading import Loaded, load
from service.machine import available_cores, choose_engine

MAX_FILE_BYTES = 200_000_000  # larger files, such as films, are reported as unreadable
BATCHES_AHEAD = 2  # decoded, while another is computed
IMAGE = ("image", pa.string())  # its name as it was given; bytes that are no UTF-8 as \xff
PROBABILITIES = ("probabilities", pa.list_(pa.float32()))  # in the order of class_names
ERROR = ("error", pa.string())  # why those between are null
COLUMNS: dict[Task, list[tuple[str, pa.DataType]]] = {
    # the most probable class, and its probability
    "single_label": [IMAGE, ("label", pa.string()), ("probability", pa.float32()), PROBABILITIES, ERROR],
    # those that reach the manifest's threshold, the most probable first; there may be none
    "multi_label": [IMAGE, ("labels", pa.list_(pa.string())), PROBABILITIES, ERROR],
}

Decoded = np.ndarray | str  # uint8 (H, W, C), or why there is none
Answer = np.ndarray | str  # probabilities, float32 (num_classes,), or why there are none


class Scorer:
    """A bundle that is loaded, and threads that decode for it.

    Args:
        engine: openvino, tensorflow, or auto, which chooses as the service does.
        precision: as in service.config.

    Raises:
        BrokenBundle, UserError: as service.engine.loading.load.
    """

    def __init__(self, bundle: Path, engine: str, precision: str, max_batch_size: int) -> None:
        chosen, _ = choose_engine(engine)
        self.loaded = load(bundle, chosen, precision, max_batch_size, measured=False)
        self.engine = self.loaded.engine
        self.precision = self.loaded.backend.precision
        # of its tables; the metadata say which model it was, and name the classes
        columns = COLUMNS[self.loaded.manifest.task]
        self.schema = pa.schema(columns, metadata=describe(bundle, self.engine, self.loaded))
        self._spec = self.loaded.manifest.input_spec
        self._max_batch_size = max_batch_size
        self._sizes = self.loaded.sizes()
        self._batch_size = self._sizes.best(max_batch_size)
        self._decoders = ThreadPoolExecutor(available_cores())

    def __call__(self, root: Path, names: Sequence[str]) -> pa.Table:
        """One row for each file, in order; relative names are below `root`."""
        return self.classify(names, self.read(root, names))

    def read(self, root: Path, names: Iterable[str]) -> Iterator[Decoded]:
        """Each file decoded; those that follow are being decoded meanwhile."""
        read = partial(read_image, self._spec)
        return ahead(self._decoders, read, (root / name for name in names), BATCHES_AHEAD * self._max_batch_size)

    def classify(
        self, names: Sequence[str], images: Iterable[Decoded], *, progress: Callable[[int], object] = lambda count: None
    ) -> pa.Table:
        """
        Args:
            images: one for each name.
            progress: is told of how many there is an answer now, besides those before.
        """
        answers: list[Answer] = []
        for group in self._infer(self._groups(images)):
            answers += group
            progress(len(group))
        return self._table(names, answers)

    def _groups(self, images: Iterable[Decoded]) -> Iterator[list[Decoded]]:
        """All in order, with a batch in each group, whatever else is."""
        group: list[Decoded] = []
        size = 0
        for image in images:
            group.append(image)
            size += isinstance(image, np.ndarray)
            if size == self._batch_size:
                yield group
                group, size = [], 0
        yield group

    def _infer(self, groups: Iterable[list[Decoded]]) -> Iterator[list[Answer]]:
        """As many batches at once as the backend takes."""
        backend = self.loaded.backend
        running: deque[tuple[list[Decoded], Any]] = deque()
        for group in groups:
            batch = [image for image in group if isinstance(image, np.ndarray)]
            began = time.monotonic()
            running.append((group, backend.start(self._stack(batch)) if batch else None))
            if len(running) == backend.in_flight:
                answers = self._finish(*running.popleft())
                self._learn(len(batch), time.monotonic() - began)
                yield answers
        while running:
            yield self._finish(*running.popleft())

    def _learn(self, size: int, seconds: float) -> None:
        """The size of the next batch, where it may change: what was measured at the start may have been disturbed."""
        if self.loaded.backend.takes_any_size and size == self._batch_size:
            self._sizes.observe(size, seconds)
            self._batch_size = self._sizes.best(self._max_batch_size)

    def _stack(self, batch: list[np.ndarray]) -> np.ndarray:
        """uint8 (N, H, W, C); where a size must be known, all of one, so that no answer depends on the company."""
        size = len(batch) if self.loaded.backend.takes_any_size else self._batch_size
        images = np.zeros((size, *self._spec.shape), np.uint8)
        np.stack(batch, out=images[: len(batch)])
        return images

    def _finish(self, group: list[Decoded], started: Any) -> list[Answer]:
        rows = iter(() if started is None else self.loaded.backend.finish(started))
        return [image if isinstance(image, str) else checked(next(rows)) for image in group]

    def _table(self, names: Sequence[str], answers: list[Answer]) -> pa.Table:
        manifest, class_names = self.loaded.manifest, self.loaded.manifest.class_names
        rows = [answer if isinstance(answer, np.ndarray) else None for answer in answers]
        said: list[list[Any]] = [
            [None if row is None else class_names[row.argmax()] for row in rows],
            [None if row is None else row.max() for row in rows],
        ]
        if manifest.task == "multi_label":
            reach = [None if row is None else at_least(row, manifest.threshold) for row in rows]
            said = [[None if chosen is None else [class_names[i] for i in chosen] for chosen in reach]]
        errors = [answer if isinstance(answer, str) else None for answer in answers]
        return pa.table([[printable(name) for name in names], *said, rows, errors], self.schema)


def describe(bundle: Path, engine: str, loaded: Loaded) -> dict[str, str]:
    """The metadata of a schema."""
    return {
        "model": loaded.manifest.model,
        "manifest_sha256": sha256(bundle / MANIFEST),
        "class_names": json.dumps(loaded.manifest.class_names, ensure_ascii=False),
        "engine": engine,
        "precision": loaded.backend.precision,
    }


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[Path], Decoded], paths: Iterable[Path], count: int
) -> Iterator[Decoded]:
    """`work` done for each, in order, in the pool; up to `count` of them before they are asked for."""
    begun: deque[Future[Decoded]] = deque()
    for path in paths:
        begun.append(pool.submit(work, path))
        if len(begun) == count:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def read_image(spec: InputSpec, path: Path) -> Decoded:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device never ends
            return "file_unreadable: This is no regular file."
        if status.st_size > MAX_FILE_BYTES:
            return f"file_unreadable: The file has more than {MAX_FILE_BYTES:,} bytes."
        return decode_image(path.read_bytes(), spec)
    except BadImage as error:
        return f"{error.code}: {error}"
    except OSError as error:
        return f"file_unreadable: {error.strerror}."


def checked(probabilities: np.ndarray) -> Answer:
    finite = np.isfinite(probabilities).all()
    return probabilities if finite else "model_failed: The model gave no finite answer to this image."


def printable(name: str) -> str:
    r"""A file's name as UTF-8; bytes of it that are none as \xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
