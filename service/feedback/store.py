"""Labelled feedback and images that wait for a label: what the service collects, and training reads as folders.

    feedback/<model>/
        labelled/<class>/<sha256>.<jpg|png|...>       an ordinary training folder
        contradictory/<class>/<sha256>.<...>          images that were given two labels; nobody trains on them
        kept/<uncertainty>-<sha256>.<...>             images without a label, to be gone through at /label
        kept/<uncertainty>-<sha256>.json              what was answered: `Answered`
        .usage .lock                                  bytes of all of it; one writer at a time

An image is named by its content, so that it is there once. It is written aside, fsynced and renamed, and a copy is
removed only after its successor is on the disk: a kill at any instant leaves every label that was acknowledged.
"""

import contextlib
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.bundle.class_names import check_label, nfc
from models.bundle.preprocessing import ALL_SUFFIXES, suffix_of
from models.files.deadline import PendingChange
from models.files.durable import fsync_path, replacing
from models.files.locks import locked
from models.files.typed import read_json
from service.telemetry.metrics import FEEDBACK_BYTES, FEEDBACK_LIMIT

LABELLED, CONTRADICTORY, KEPT = "labelled", "contradictory", "kept"
LOCK, USAGE = ".lock", ".usage"
Outcome = Literal["stored", "duplicate", "contradictory", "settled"]


class FeedbackFull(Exception):
    """The budget is used up; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the JSON file beside a kept image says; see `Kept`."""

    version: int = 0
    request_id: str = ""
    top: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Kept(Answered):
    """An image that waits for a label, and what was answered."""

    digest: str = ""  # sha256 of the file, in hexadecimal
    path: Path = Path()

    @property
    def uncertainty(self) -> float:
        return uncertainty_of([probability for _, probability in self.top])


def uncertainty_of(top: list[float]) -> float:
    """1 where the two most probable classes are equally so, 0 where one is certain."""
    return 1.0 - (top[0] - (top[1] if len(top) > 1 else 0.0)) if top else 1.0


class FeedbackStore:
    """What one model has been told; safe for any number of processes and threads.

    Args:
        home: `feedback/<model>`; made when the first image comes.
        max_bytes: of everything in it. Kept images make room for labelled ones, the oldest first.
    """

    def __init__(self, home: Path, *, max_bytes: int) -> None:
        self.home = home
        self._max_bytes = max_bytes
        self._counted = False

    def add(self, data: bytes, label: str, *, settle: bool = False, pending: PendingChange | None = None) -> Outcome:
        """Store an encoded image under its label.

        Args:
            settle: this label overrides earlier labels.
            pending: the change, which begins when the lock is held.

        Raises:
            ChangeCancelled: whoever sent it has given up; nothing was stored.
            FeedbackFull: there is no room for it.
            OSError: it could not be written.
        """
        name = name_of(data)
        digest = name.partition(".")[0]
        label = check_label(label)
        folder = self.home / LABELLED / label
        with self._writing(pending):
            before, apart = self._copies(LABELLED, name), self._copies(CONTRADICTORY, name)
            outcome: Outcome = "contradictory"
            if {label_of(path) for path in before} == {label} and not apart:
                outcome = "duplicate"
            elif settle or not (before or apart):
                for path in before:
                    if path.parent != folder:
                        self._set_apart(path)  # a kill before the next line leaves it under no label, not under two
                self._write(folder / name, data)
                self._remove(self._copies(CONTRADICTORY, name))
                outcome = "settled" if before or apart else "stored"
            else:
                if label not in map(label_of, apart):
                    self._write(self.home / CONTRADICTORY / label / name, data)
                for path in before:
                    self._set_apart(path)
            self._remove_kept(digest)
            return outcome

    def keep(self, data: bytes, version: int, request_id: str, top: list[tuple[str, float]]) -> bool:
        """Store an image that nobody has labelled yet; False where somebody has, or where there is no room.

        Raises:
            OSError: it could not be written.
        """
        name = name_of(data)
        place = f"{uncertainty_of([probability for _, probability in top]):.4f}-{name}"
        about = json.dumps({"version": version, "request_id": request_id, "top": top}, ensure_ascii=False)
        with self._writing():
            if self._copies(LABELLED, name) or self._copies(CONTRADICTORY, name):
                return False
            if (self.home / KEPT / place).with_suffix(".json").exists():
                return True
            try:
                self._write(self.home / KEPT / place, data)
                self._write((self.home / KEPT / place).with_suffix(".json"), about.encode())
            except FeedbackFull:
                return False
        return True

    def kept(self, limit: int) -> list[Kept]:
        """Images that wait for a label, the most uncertain first."""
        folder = self.home / KEPT
        names = listed(folder)
        images = {name.rpartition(".")[0]: folder / name for name in names if not name.endswith(".json")}
        found: dict[str, Kept] = {}
        for name in sorted((name for name in names if name.endswith(".json")), reverse=True):
            if len(found) == limit:
                break
            image = images.get(name.removesuffix(".json"))
            with contextlib.suppress(OSError, ValueError):  # labelled or expired just now, or damaged
                about = read_json(folder / name, Answered)
                if image is not None:
                    digest = digest_of(name)
                    top = [(nfc(label), probability) for label, probability in about.top]
                    found.setdefault(digest, Kept(about.version, about.request_id, top, digest, image))
        return list(found.values())

    def find(self, digest: str) -> Path | None:
        """The file of an image, wherever it lies."""
        waiting = (self.home / KEPT / name for name in listed(self.home / KEPT) if digest_of(name) == digest)
        names = [f"{digest}{suffix}" for suffix in ALL_SUFFIXES]
        copies = (path for part in (CONTRADICTORY, LABELLED) for name in names for path in self._copies(part, name))
        return next((path for path in (*waiting, *copies) if path.suffix != ".json"), None)

    def contradictions(self) -> dict[str, list[str]]:
        """{sha256 of an image: the labels it was given}, of those set apart."""
        apart: dict[str, list[str]] = {}
        for path in sorted(files_below(self.home / CONTRADICTORY)):
            apart.setdefault(path.stem, []).append(label_of(path))
        return apart

    def discard(self, digest: str, *, pending: PendingChange | None = None) -> bool:
        """Forget a kept image; False where there is none.

        Raises:
            ChangeCancelled: whoever asked has given up; it is still there.
        """
        if not any(digest_of(name) == digest for name in listed(self.home / KEPT)):
            return False
        with self._writing(pending):
            self._remove_kept(digest)
        return True

    def expire(self, max_age_s: float) -> int:
        """Forget kept images that are older; returns how many files that were."""
        before = time.time() - max_age_s
        folder = self.home / KEPT
        if not folder.is_dir():
            return 0
        with self._writing():
            old = [path for path in files_in(folder) if path.stat().st_mtime < before]
            self._remove(old)
        return len(old)

    def summary(self) -> dict[str, object]:
        """Images by class, contradictions with their labels, images that wait, bytes."""
        folders = self.home / LABELLED
        counts = Counter({nfc(name): 0 for name in listed(folders) if (folders / name).is_dir()})
        counts.update(map(label_of, files_below(folders)))
        return {
            "labelled": dict(counts),
            "contradictory": [{"image": digest, "labels": labels} for digest, labels in self.contradictions().items()],
            "kept": sum(name.endswith(".json") for name in listed(self.home / KEPT)),
            "bytes": self._count(),
            "max_bytes": self._max_bytes,
        }

    @contextlib.contextmanager
    def _writing(self, pending: PendingChange | None = None) -> Iterator[None]:
        """One writer at a time; the kernel frees the lock of a process that dies."""
        self.home.mkdir(parents=True, exist_ok=True)
        with locked(self.home / LOCK, pending=pending):
            if not self._counted:
                self._recount()
            yield

    def _recount(self) -> None:
        """Once in each process: what a kill left half written goes, and bytes are counted anew."""
        for path in self.home.rglob(".*-*"):
            if path.is_file():
                path.unlink()
        self._note_usage(self._count())
        self._counted = True

    def _count(self) -> int:
        return sum(size_of(path) for part in (LABELLED, CONTRADICTORY, KEPT) for path in self._files(part))

    def _usage(self) -> int:
        try:
            return int((self.home / USAGE).read_text())
        except (OSError, ValueError):  # somebody was killed while writing it, or has moved all of it away
            return self._count()

    def _note_usage(self, total: int) -> None:
        (self.home / USAGE).write_text(str(max(0, total)))
        FEEDBACK_BYTES.labels(self.home.name).set(max(0, total))
        FEEDBACK_LIMIT.labels(self.home.name).set(self._max_bytes)

    def _write(self, path: Path, data: bytes) -> None:
        """
        Raises:
            FeedbackFull: even without a kept image there is no room for it.
        """
        self._make_room(len(data), is_kept=path.parent.name == KEPT)
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            for folder in (path.parent, path.parent.parent, self.home, self.home.parent):
                fsync_path(folder)
        before = size_of(path)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        self._note_usage(self._usage() + len(data) - before)

    def _make_room(self, size: int, *, is_kept: bool) -> None:
        if self._usage() + size <= self._max_bytes:
            return
        self._note_usage(self._count())  # somebody may have moved images away
        missing = self._usage() + size - self._max_bytes
        if missing <= 0:
            return
        oldest = sorted(self._files(KEPT), key=lambda path: path.stat().st_mtime)
        kept = sum(map(size_of, oldest))
        if missing > kept or (is_kept and size > kept):
            raise FeedbackFull(
                f"{self._usage():,} of {self._max_bytes:,} bytes are used, and the image has {size:,}. "
                "Train on what is there and move it away, or raise SERVICE_FEEDBACK_BYTES."
            )
        missing = min(kept, max(missing, self._max_bytes // 20))  # at once, since looking for the oldest takes time
        while missing > 0:
            path = oldest.pop(0)
            missing -= size_of(path)
            self._remove([path])

    def _set_apart(self, path: Path) -> None:
        target = self.home / CONTRADICTORY / path.parent.name / path.name
        if not target.parent.exists():
            target.parent.mkdir(parents=True)
            fsync_path(target.parent.parent)
        path.rename(target)
        fsync_path(target.parent)
        fsync_path(path.parent)

    def _remove(self, paths: Iterator[Path] | list[Path]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                size = size_of(path)
                path.unlink()
                self._note_usage(self._usage() - size)

    def _remove_kept(self, digest: str) -> None:
        names = [name for name in listed(self.home / KEPT) if digest_of(name) == digest]
        self._remove([self.home / KEPT / name for name in names])

    def _copies(self, part: str, name: str) -> list[Path]:
        """An image's files under whatever labels."""
        paths = (self.home / part / label / name for label in listed(self.home / part))
        return [path for path in paths if path.exists()]

    def _files(self, part: str) -> Iterator[Path]:
        return files_in(self.home / part) if part == KEPT else files_below(self.home / part)


def name_of(data: bytes) -> str:
    """Of an image's file: by its content alone, so that it is found without looking through a folder."""
    return f"{hashlib.sha256(data).hexdigest()}{suffix_of(data)}"


def digest_of(name: str) -> str:
    """Of a kept file's name."""
    return name.partition("-")[2].partition(".")[0]


def label_of(path: Path) -> str:
    """Of a labelled image: its folder's name, which an older version may not have written in NFC."""
    return nfc(path.parent.name)


def size_of(path: Path) -> int:
    """Bytes; 0 where there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def listed(folder: Path) -> list[str]:
    """Names in a folder but for hidden ones; [] where there is none."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_in(folder: Path) -> Iterator[Path]:
    return (folder / name for name in listed(folder))


def files_below(folder: Path) -> Iterator[Path]:
    """Those in its folders."""
    return (path for name in listed(folder) for path in files_in(folder / name))
