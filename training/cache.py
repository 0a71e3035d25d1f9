"""Every image decoded once, in parallel, into a memory-mapped array that later runs use again.

    <cache>/decoded/<key>/
        images.npy        uint8 (N, H, W, C): the readable images, memory-mapped by whoever reads it
        index.json        for each image its path, label, split and content hash; the unreadable files, and why

The key says which files (path, size, modification time) and which input; a folder that changed is decoded anew.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from numpy.lib.format import open_memmap

from models.durable import write_durably
from models.preprocessing import DECODER, BadImage, InputSpec, decode_image
from training.datasets import rename_or_yield
from training.index import BadData, Index

CHUNK = 256  # files a task; large enough that starting a task costs nothing beside it
MAX_FILE_BYTES = 200_000_000  # a film that lies among the images is not read into memory
MAX_UNREADABLE = 0.5  # of all files; with more it is no folder of images


@dataclass(frozen=True, slots=True)
class DecodedImages:
    """The readable images of a data set.

    Attributes:
        images: uint8 (N, H, W, C), memory-mapped.
        labels: int64 (N,).
        splits: the split that the folder names for each image, or "".
        hashes: sha256 of each file's bytes, in hexadecimal.
        paths: each image's file, relative to the root where it lies below it.
        unreadable: {path: reason} of the files left out.
    """

    class_names: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    splits: tuple[str, ...]
    hashes: tuple[str, ...]
    paths: tuple[str, ...]
    unreadable: dict[str, str]

    def fingerprint(self) -> str:
        """One hash of what is learnt from: every image's content with its label, in no order."""
        rows = sorted(f"{h} {self.class_names[y]}" for h, y in zip(self.hashes, self.labels, strict=True))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def decode_all(
    index: Index, spec: InputSpec, cache: Path, *, on_progress: Callable[[int], None] = lambda done: None
) -> DecodedImages:
    """Decode an index, or map what an earlier run decoded.

    Args:
        on_progress: called with the number of files done since the last call.

    Raises:
        BadData: more than half of the files are unreadable, or all of some class.
    """
    folder = cache / "decoded" / cache_key(index, spec)
    if not (folder / "index.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".decoding-", dir=folder.parent))
        try:
            decode_into(staging, index, spec, on_progress)
            rename_or_yield(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    decoded = read_cache(folder, index.class_names)
    check_readable(decoded, len(index.entries))
    return decoded


def cache_key(index: Index, spec: InputSpec) -> str:
    decoder = [DECODER, PIL.__version__, spec.to_json()]
    key = hashlib.sha256(json.dumps([decoder, index.class_names]).encode())
    for entry in index.entries:
        status = entry.path.stat()
        key.update(os.fsencode(entry.path) + f"\0{status.st_size}\0{status.st_mtime_ns}\0{entry.split}\0".encode())
    return key.hexdigest()[:32]


def decode_into(folder: Path, index: Index, spec: InputSpec, on_progress: Callable[[int], None]) -> None:
    """Workers write straight into the map; then the unreadable rows are squeezed out."""
    images = allocate(folder / "images.npy", len(index.entries), spec.shape)
    paths = [entry.path for entry in index.entries]
    starts = range(0, len(paths), CHUNK)
    tasks = [(start, paths[start : start + CHUNK]) for start in starts]
    rows: list[tuple[str, str]] = []  # (content hash, reason it is unreadable or "")
    decode = partial(decode_chunk, folder / "images.npy", spec)
    if len(tasks) == 1:  # starting processes would take longer than the work
        rows += decode(tasks[0])
        on_progress(len(rows))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=context) as pool:
            for chunk in pool.map(decode, tasks):
                rows += chunk
                on_progress(len(chunk))
    readable = [i for i, (_, reason) in enumerate(rows) if not reason]
    if not readable:
        raise BadData(f"None of the {len(rows)} files is an image that can be read. {paths[0]}: {rows[0][1]}")
    if len(readable) < len(rows):
        squeeze(folder / "images.npy", images, readable)
    listing = {
        "images": [
            {
                "path": relative(paths[i], index.root),
                "label": index.entries[i].label,
                "split": index.entries[i].split,
                "sha256": rows[i][0],
            }
            for i in readable
        ],
        "unreadable": {relative(paths[i], index.root): rows[i][1] for i in range(len(rows)) if rows[i][1]},
    }
    write_durably(folder / "index.json", json.dumps(listing))


def allocate(path: Path, num_images: int, shape: tuple[int, ...]) -> np.ndarray:
    """A new memory-mapped uint8 array (num_images, *shape).

    Raises:
        OSError: the disk has no room; found out here, since a write into a sparse map would kill the process.
    """
    images = open_memmap(path, mode="w+", dtype=np.uint8, shape=(num_images, *shape))
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror} for {images.nbytes:,} bytes of decoded images", str(path)
        ) from None
    return images


def decode_chunk(images_path: Path, spec: InputSpec, task: tuple[int, list[Path]]) -> list[tuple[str, str]]:
    start, paths = task
    images = np.load(images_path, mmap_mode="r+")
    rows = []
    for i, path in enumerate(paths, start):
        digest, reason = "", ""
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise BadImage(f"The file has more than {MAX_FILE_BYTES:,} bytes.")
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            images[i] = decode_image(data, spec)
        except (BadImage, OSError) as error:
            reason = str(error)
        rows.append((digest, reason))
    return rows


def squeeze(path: Path, images: np.ndarray, readable: list[int]) -> None:
    compact = allocate(path.with_suffix(".compact"), len(readable), images.shape[1:])
    for target, source in enumerate(readable):
        compact[target] = images[source]
    path.with_suffix(".compact").replace(path)


def read_cache(folder: Path, class_names: tuple[str, ...]) -> DecodedImages:
    listing = json.loads((folder / "index.json").read_text())
    rows = listing["images"]
    return DecodedImages(
        class_names=class_names,
        images=np.load(folder / "images.npy", mmap_mode="r"),
        labels=np.array([row["label"] for row in rows], np.int64),
        splits=tuple(row["split"] for row in rows),
        hashes=tuple(row["sha256"] for row in rows),
        paths=tuple(row["path"] for row in rows),
        unreadable=listing["unreadable"],
    )


def check_readable(decoded: DecodedImages, num_files: int) -> None:
    if len(decoded.unreadable) > MAX_UNREADABLE * num_files:
        examples = "; ".join(f"{path}: {reason}" for path, reason in list(decoded.unreadable.items())[:3])
        raise BadData(f"{len(decoded.unreadable)} of {num_files} files are no readable images. {examples}")
    empty = [name for i, name in enumerate(decoded.class_names) if not (decoded.labels == i).any()]
    if empty:
        raise BadData(f"No image of class {empty[0]!r} can be read. Mend its files or remove its folder.")


def relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
