"""Every image decoded once, in parallel, into memory-mapped arrays that later runs use again.

    <cache>/decoded/<key>/
        images.npy                   uint8 (N, H, W, C): the readable images
        thumbnails.npy               uint8 (N, 16, 16), grey: to find near duplicates by
        files.npy                    FILE (N,): label, split, hashes, near duplicates, and what else is known of each
        paths.npy path_ends.npy      (training.data.path_table)
        unreadable.json              {path: reason}, written last

Whoever reads maps them, so that memory does not grow with the data set. The key says which files (path, size,
modification time) and which input; a folder that changed is decoded anew.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.lib.format import open_memmap

from models.bundle.preprocessing import DECODER, BadImage, InputSpec, decode_for
from models.files.durable import write_durably
from models.files.typed import read_json
from models.process.children import hidden_main
from training.data.duplicates import THUMBNAIL, group_duplicates, join_groups
from training.data.file_info import Facts, facts_of
from training.data.index import BadData, Index
from training.data.named_sets import move_into_place
from training.data.path_table import Paths

LAYOUT = 3  # of the directory; raise it whenever that changes
FILE = np.dtype(
    [
        ("label", np.int32),
        ("split", np.int8),  # position in SPLITS
        ("sha256", np.uint8, (32,)),  # of the file's bytes
        ("pixels", np.uint64),  # hash of the decoded pixels
        ("width", np.int32),
        ("height", np.int32),
        ("kind", np.int8),  # position in KINDS
        ("oddities", np.uint8),  # bits, by position in ODDITIES
        ("group", np.int32),  # the first row of its near duplicates (training.data.duplicates)
        ("look", np.int32),  # of all that look like it; another one only where these were too many for one group
    ]
)
THUMBNAIL_SPEC = InputSpec(THUMBNAIL, THUMBNAIL, 1, "squash")
CHUNK = 256  # files a task; large enough that starting a task costs nothing beside it
MAX_FILE_BYTES = 200_000_000  # a film that lies among the images is not read into memory
MAX_UNREADABLE = 0.5  # of all files; with more it is no folder of images


@dataclass(frozen=True, slots=True)
class DecodedImages:
    """The readable images of a data set."""

    class_names: tuple[str, ...]
    images: np.ndarray  # uint8 (N, H, W, C), memory-mapped
    labels: np.ndarray  # int64 (N,)
    files: np.ndarray  # FILE (N,), memory-mapped
    thumbnails: np.ndarray  # uint8 (N, 16, 16), memory-mapped
    paths: Paths  # each image's file, relative to the root
    unreadable: dict[str, str]  # {path: reason} of the files left out
    given_groups: np.ndarray | None = None  # int (N,), as in `training.data.index.Index`

    def groups(self) -> np.ndarray:
        """int64 (N,): the first row of all images that have to be on one side of a split with each.

        These are its near duplicates, the images of its group, their near duplicates, and so on.
        """
        near = self.files["group"].astype(np.int64)
        return near if self.given_groups is None else join_groups(near, self.given_groups)

    def hashes(self) -> np.ndarray:
        """uint64 (N,): the first eight bytes of each file's sha256, by which it is known elsewhere."""
        return np.ascontiguousarray(self.files["sha256"][:, :8]).view(">u8")[:, 0].astype(np.uint64)

    def fingerprint(self, rows: np.ndarray) -> str:
        """One hash of these images' contents and labels, independent of their order."""
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for label in range(len(self.class_names)):
            contents = np.ascontiguousarray(self.files["sha256"][rows[self.labels[rows] == label]])
            digest.update(np.sort(contents.view("V32"), axis=0).tobytes() + b"\n")
        return digest.hexdigest()


def decode_all(
    index: Index,
    spec: InputSpec,
    cache: Path,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
    however_few: bool = False,
) -> DecodedImages:
    """Decode an index, or map what an earlier run decoded.

    Args:
        on_progress: called with the number of files done since the last call.
        however_few: any number of files may be unreadable, but not all.

    Raises:
        BadData: more than half of the files are unreadable, or all of some class.
    """
    folder = cache / "decoded" / cache_key(index, spec)
    if not (folder / "unreadable.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".decoding-", dir=folder.parent))
        try:
            decode_into(staging, index, spec, on_progress)
            move_into_place(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    decoded = read_cache(folder, index.class_names)
    if index.groups is not None:
        readable = np.array([path not in decoded.unreadable for path in index.paths], bool)
        decoded = replace(decoded, given_groups=index.groups[readable])
    if not however_few:
        check_readable(decoded, len(index.paths))
    return decoded


def cache_key(index: Index, spec: InputSpec) -> str:
    decoder = [LAYOUT, DECODER, PIL.__version__, spec.to_json()]
    key = hashlib.sha256(json.dumps([decoder, index.class_names, os.fsdecode(index.root)]).encode())
    key.update(index.labels.tobytes() + index.splits.tobytes())
    for path in index.paths:
        status = (index.root / path).stat()
        key.update(os.fsencode(path) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return key.hexdigest()[:32]


def decode_into(folder: Path, index: Index, spec: InputSpec, on_progress: Callable[[int], None]) -> None:
    """Decode in parallel into memory-mapped files, then remove the rows of unreadable files."""
    num_files = len(index.paths)
    arrays = {
        "images": allocate(folder / "images.npy", np.uint8, (num_files, *spec.shape)),
        "thumbnails": allocate(folder / "thumbnails.npy", np.uint8, (num_files, THUMBNAIL, THUMBNAIL)),
        "files": allocate(folder / "files.npy", FILE, (num_files,)),
    }
    arrays["files"]["label"], arrays["files"]["split"] = index.labels, index.splits
    index.paths.save(folder)
    decode = partial(decode_chunk, folder, index.root, spec)
    unreadable: dict[int, str] = {}
    if num_files <= CHUNK:  # starting processes would take longer than the work
        unreadable = decode(0)
        on_progress(num_files)
    else:
        num_workers = len(os.sched_getaffinity(0))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
            starts = range(0, num_files, CHUNK)
            with hidden_main():
                results = pool.map(decode, starts)
            for start, reasons in zip(starts, results, strict=True):
                unreadable |= reasons
                on_progress(min(CHUNK, num_files - start))
    listing = {index.paths[i]: reason for i, reason in unreadable.items()}
    if len(unreadable) == num_files:
        (path, reason), *_ = listing.items()
        raise BadData(f"None of the {num_files} files is an image that can be read. {path}: {reason}")
    if unreadable:
        readable = np.delete(np.arange(num_files), list(unreadable))
        for name, array in arrays.items():
            squeeze(folder / f"{name}.npy", array, readable)
        Paths.of(index.paths[i] for i in readable).save(folder)
    write_groups(folder)
    write_durably(folder / "unreadable.json", json.dumps(listing))


def write_groups(folder: Path) -> None:
    """Find near duplicates, once for all that ask for them."""
    files, thumbnails = np.load(folder / "files.npy", mmap_mode="r+"), np.load(folder / "thumbnails.npy", mmap_mode="r")
    files["group"], files["look"] = group_duplicates(files["pixels"], thumbnails, files["label"])


def allocate(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A new memory-mapped array."""
    array = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror} for {array.nbytes:,} bytes of decoded images", str(path)
        ) from None
    return array


def decode_chunk(folder: Path, root: Path, spec: InputSpec, start: int) -> dict[int, str]:
    """Fill a chunk of rows; {row: why its file cannot be read}."""
    images, thumbnails, files = (
        np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("images", "thumbnails", "files")
    )
    unreadable = {}
    for i, path in enumerate(Paths.load(folder)[start : start + CHUNK], start):
        try:
            data = read_bytes(root / path)
            images[i], thumbnail = decode_for(data, (spec, THUMBNAIL_SPEC))
            facts = facts_of(data, path)
        except (BadImage, OSError) as error:
            unreadable[i] = str(error)
            continue
        if min(facts.width, facts.height) >= THUMBNAIL:  # smaller ones show too little to be called alike
            thumbnails[i] = thumbnail[:, :, 0]
        files["sha256"][i] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        files["pixels"][i] = int.from_bytes(hashlib.sha256(images[i]).digest()[:8], "little")
        for name in Facts._fields:
            files[name][i] = getattr(facts, name)
    return unreadable


def read_bytes(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadImage(f"The file has more than {MAX_FILE_BYTES:,} bytes.")
    return path.read_bytes()


def squeeze(path: Path, array: np.ndarray, readable: np.ndarray) -> None:
    compact = allocate(path.with_suffix(".compact"), array.dtype, (len(readable), *array.shape[1:]))
    for start in range(0, len(readable), CHUNK):
        compact[start : start + CHUNK] = array[readable[start : start + CHUNK]]
    path.with_suffix(".compact").replace(path)


def read_cache(folder: Path, class_names: tuple[str, ...]) -> DecodedImages:
    try:
        unreadable = read_json(folder / "unreadable.json", dict[str, str])
    except ValueError as error:
        raise BadData(f"{folder} is damaged: its unreadable.json is invalid ({error}). Delete the folder.") from error
    images, thumbnails, files = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "thumbnails", "files")
    )
    return DecodedImages(
        class_names=class_names,
        images=images,
        labels=files["label"].astype(np.int64),
        files=files,
        thumbnails=thumbnails,
        paths=Paths.load(folder),
        unreadable=unreadable,
    )


def check_readable(decoded: DecodedImages, num_files: int) -> None:
    if len(decoded.unreadable) > MAX_UNREADABLE * num_files:
        examples = "; ".join(f"{path}: {reason}" for path, reason in list(decoded.unreadable.items())[:3])
        raise BadData(f"{len(decoded.unreadable)} of {num_files} files are no readable images. {examples}")
    empty = [name for i, name in enumerate(decoded.class_names) if not (decoded.labels == i).any()]
    if empty:
        raise BadData(f"No image of class {empty[0]!r} can be read. Mend its files or remove its folder.")
