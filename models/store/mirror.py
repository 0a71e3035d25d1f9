"""Keeps a mirror equal to its origin: the pointers, what is said of all versions, and the files of those that are used.

A version's files are downloaded beside it, compared with the checksums in its manifest, and put in its place by a
rename, so that whoever looks sees all of them or none. What the origin does not say because it is away, slow or lists
an old state changes nothing here: a model or a version is removed only when the origin says of its own objects that
they are gone.
"""

import contextlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from models.bundle.manifest import MANIFEST, BrokenBundle, Manifest, read_manifest, verify
from models.errors import StoreAway
from models.files.durable import fsync_tree
from models.files.locks import locked
from models.files.stamp import Stamp, stamp_of
from models.process.lazy import imported_when_used
from models.store.decisions import DECISIONS, SET_ASIDE
from models.store.default import DEFAULT
from models.store.layout import LOCK, MODEL_NAME, PRUNED, list_models, list_versions, published_models
from models.store.live import HISTORY, LIVE, LivePointer, read_live
from models.store.origin import (
    bring,
    collect_garbage,
    keep_outline,
    new_folder,
    origin_of,
    outline,
    put_in_place,
    replace,
)

with imported_when_used():  # obstore, which only mirrors need
    import models.store.objects as objects

log = logging.getLogger(__name__)

INDEX = "index.json"  # of an https:// address, which has no lists of objects: {"models": {"digits": [1, 2]}}
RETRY_S = 60.0  # after a version that could not be brought whole
KEEP_S = 600.0  # the files of a version that has no part any more stay for so long
VERSION = re.compile(r"[1-9][0-9]{0,17}")


class Mirror:
    """
    Args:
        exports: a folder with an origin.
    """

    def __init__(self, exports: Path) -> None:
        store = origin_of(exports)
        assert store is not None
        self._exports = exports
        self._store = store
        # of small files, as they were read last, with the stamp of what was written here then
        self._tags: dict[str, tuple[objects.Tag, Stamp]] = {}
        self._not_before: dict[Path, float] = {}  # versions that could not be brought whole, and when to try again
        self._unused_since: dict[Path, float] = {}  # versions whose files are here

    def pull(self, *, listing: bool) -> None:
        """Bring the pointers of all models.

        Args:
            listing: look for new and removed models and versions, too, and bring manifests, decisions and histories.

        Raises:
            StoreAway: the origin does not answer.
        """
        here = set(list_models(self._exports))
        there = self._models() if listing else set()
        self._pull(self._exports, DEFAULT)
        for name in sorted(here | there):
            home = self._exports / name
            home.mkdir(exist_ok=True)
            self._pull(home, f"{name}/{LIVE}")  # first: without a pointer the newest version would be live
            if listing:
                self._pull_versions(name)
            if listing and name not in there:
                self._remove_if_gone(name)

    def fetch(self, is_needed: Callable[[str, int], bool] = lambda model, version: False) -> list[str]:
        """Bring the files of versions that have a part, or that `is_needed` names; says what could not be brought."""
        problems: list[str] = []
        while (bundle := self._next(is_needed)) is not None:
            try:
                self.bring_version(bundle)
                self._not_before.pop(bundle, None)
            except (BrokenBundle, StoreAway, OSError, ValueError) as error:
                self._not_before[bundle] = time.monotonic() + RETRY_S
                problems.append(f"version {bundle.name} of {bundle.parent.name} is not taken up: {error}")
        return problems

    def _next(self, is_needed: Callable[[str, int], bool]) -> Path | None:
        """The most urgent version whose files are missing, by the pointers as they are now."""
        now = time.monotonic()
        missing = (bundle for bundle in self._wanted(is_needed) if self._not_before.get(bundle, 0.0) <= now)
        return next((bundle for bundle in missing if not is_whole(bundle)), None)

    def clean(self) -> None:
        """Remove what downloads that were killed left behind."""
        for name in list_models(self._exports):
            with locked(self._exports / name / LOCK, wait=False) as is_free:
                if is_free:
                    collect_garbage(self._exports / name)

    def bring_version(self, bundle: Path) -> None:
        """Download all files of a version.

        Raises:
            BrokenBundle: they are not what its manifest says, or the origin has no such version.
            StoreAway: the origin does not answer.
        """
        prefix = bundle.relative_to(self._exports).as_posix()
        began = time.monotonic()
        with new_folder(bundle.parent) as staging:
            found = self._store.read(f"{prefix}/{MANIFEST.as_posix()}")
            if found is None:
                raise BrokenBundle(f"{self._store.address}/{prefix} has no manifest")
            replace(staging / MANIFEST, found.data)
            manifest = read_manifest(staging)
            for name in names_inside(manifest):
                try:
                    self._store.fetch(f"{prefix}/{name}", staging / name)
                except FileNotFoundError:
                    raise BrokenBundle(f"{self._store.address}/{prefix} lacks {name}") from None
            try:
                verify(staging)
            except BrokenBundle as error:
                raise BrokenBundle(str(error).replace(str(staging), f"{self._store.address}/{prefix}")) from None
            fsync_tree(staging)
            with locked(bundle.parent / LOCK):
                put_in_place(staging, bundle)
        log.info("%s: version %s was fetched in %.1f s", bundle.parent.name, bundle.name, time.monotonic() - began)

    def forget_unused(self, is_needed: Callable[[str, int], bool]) -> None:
        """Delete the files, but for OUTLINE, of versions that have been without a part for KEEP_S."""
        wanted, now = set(self._wanted(is_needed)), time.monotonic()
        for bundle in list(self._bundles()):
            if bundle in wanted or not is_whole(bundle):
                self._unused_since.pop(bundle, None)
            elif now - self._unused_since.setdefault(bundle, now) > KEEP_S:
                with locked(bundle.parent / LOCK):
                    keep_outline(bundle)
                del self._unused_since[bundle]

    def _models(self) -> set[str]:
        names = set(self._index()) if self._store.is_read_only else self._store.folders()[0]
        return {name for name in names if MODEL_NAME.fullmatch(name)}

    def _versions(self, name: str) -> set[int]:
        if self._store.is_read_only:
            return set(self._index().get(name, []))
        return {int(folder) for folder in self._store.folders(name)[0] if VERSION.fullmatch(folder)}

    def _index(self) -> dict[str, list[int]]:
        found = self._store.read(INDEX)
        try:
            models = json.loads(found.data if found else b"")["models"]
            return {name: [int(version) for version in versions] for name, versions in models.items()}
        except (ValueError, LookupError, AttributeError, TypeError):
            raise StoreAway(
                f"{self._store.address}/{INDEX} is missing or no index: write it with striate index, and upload it."
            ) from None

    def _pull_versions(self, name: str) -> None:
        """Bring new manifests and what is said of all versions; forget versions that are gone."""
        home, there = self._exports / name, self._versions(name)
        # The newest comes first, since it is live where there is no pointer.
        for version in sorted(there - set(list_versions(home)), reverse=True):
            with contextlib.suppress(BrokenBundle):  # whoever loads it says what is wrong with it
                outline(self._exports, name, version)
        for version in set(list_versions(home)) - there:  # or the list is old
            if self._store.read(f"{name}/{version}/{MANIFEST.as_posix()}") is None:
                with locked(home / LOCK, wait=False) as is_free:
                    if is_free:
                        shutil.rmtree(home / str(version), ignore_errors=True)
        for file in (HISTORY, DECISIONS):
            self._pull(home, f"{name}/{file}")

    def _pull(self, folder: Path, key: str) -> None:
        """Bring a small file, unless somebody here is changing what is in this folder, and so brings it."""
        with locked(folder / LOCK, wait=False) as is_free:
            if is_free:
                self._bring(key)

    def _bring(self, key: str) -> None:
        path = self._exports / key
        tag, stamp = self._tags.get(key, (None, None))
        found = self._store.read(key, unless=tag if stamp == stamp_of(path) else None)
        if found is objects.UNCHANGED:
            return
        if found is None and path.exists() and path.name in (LIVE, DEFAULT):
            return  # nothing deletes these alone: the store is another one, or answers wrongly
        bring(path, found.data if found else None)
        if found is not None:
            self._tags[key] = found.tag, stamp_of(path)

    def _remove_if_gone(self, name: str) -> None:
        """Forget a model that has neither a pointer nor a version in the store any more."""
        home = self._exports / name
        keys = [f"{name}/{LIVE}", *(f"{name}/{v}/{MANIFEST.as_posix()}" for v in list_versions(home))]
        if any(self._store.read(key) is not None for key in keys):
            return
        with locked(home / LOCK, wait=False) as is_free:
            if not is_free:
                return
            for version in list_versions(home):
                shutil.rmtree(home / str(version), ignore_errors=True)
            for file in (LIVE, HISTORY, DECISIONS):
                (home / file).unlink(missing_ok=True)
                self._tags.pop(f"{name}/{file}", None)
        if not [path for path in home.iterdir() if path.name != LOCK]:  # a retraining job has its state here
            shutil.rmtree(home, ignore_errors=True)
            log.info("%s is gone from %s", name, self._store.address)

    def _wanted(self, is_needed: Callable[[str, int], bool]) -> list[Path]:
        """Versions whose files are to be here, those that answer first."""
        wanted: dict[Path, int] = {}
        for name in list_models(self._exports):
            with contextlib.suppress(BrokenBundle):
                for rank, version in enumerate(parts_of(read_live(self._exports / name))):
                    wanted.setdefault(self._exports / name / str(version), rank)
        for bundle in self._bundles():
            if is_needed(bundle.parent.name, int(bundle.name)):
                wanted.setdefault(bundle, len(wanted))
        return sorted(wanted, key=lambda bundle: wanted[bundle])

    def _bundles(self) -> Iterator[Path]:
        for name in list_models(self._exports):
            for version in list_versions(self._exports / name):
                yield self._exports / name / str(version)


def parts_of(pointer: LivePointer) -> list[int]:
    """Versions that have a part, the most urgent first."""
    parts = [] if pointer.unloaded else [pointer.live, pointer.canary, pointer.shadow, pointer.previous]
    return list(dict.fromkeys(version for version in parts if version is not None))


def is_whole(bundle: Path) -> bool:
    """Whether all files that the manifest lists are there; they were compared with it when they came."""
    try:
        return all((bundle / name).exists() for name in read_manifest(bundle).files)
    except BrokenBundle:
        return False


def names_inside(manifest: Manifest) -> list[str]:
    """The files of a bundle, none of which may lie outside of it.

    Raises:
        BrokenBundle: one does.
    """
    for name in manifest.files:
        if "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BrokenBundle(f"Its manifest lists {name!r}, which is outside of the bundle.")
    return list(manifest.files)


def bring_version(home: Path, version: int) -> None:
    """Have all files of a version, downloaded where the exports are a mirror and they are not there.

    Raises:
        BrokenBundle, StoreAway: as `Mirror.bring_version`.
    """
    bundle = home / str(version)
    if origin_of(home.parent) is not None and not is_whole(bundle):
        Mirror(home.parent).bring_version(bundle)


def refresh(home: Path, *, is_locked: bool = False) -> None:
    """Have a model's pointer as it is now at the origin, where the exports are a mirror.

    Args:
        is_locked: the caller holds the model's lock.

    Raises:
        StoreAway: the origin does not answer.
    """
    store = origin_of(home.parent)
    if store is None:
        return
    with contextlib.nullcontext() if is_locked else locked(home / LOCK):
        found = store.read(f"{home.name}/{LIVE}")
        if found is not None:
            bring(home / LIVE, found.data)


def pull_for_training(home: Path) -> None:
    """Have what a retraining job needs beside the versions, where the exports are a mirror: the lists of images that no
    job trains on, and the records of versions that were pruned.

    Raises:
        StoreAway: the origin does not answer.
    """
    store = origin_of(home.parent)
    if store is None or store.is_read_only:
        return
    for folder in (SET_ASIDE, PRUNED):
        there = set(store.sizes(f"{home.name}/{folder}"))
        for key in sorted(there):
            found = store.read(f"{home.name}/{folder}/{key}")
            bring(home / folder / key, found.data if found else None)
        if folder == SET_ASIDE:
            for path in [path for path in (home / folder).glob("[!.]*.txt") if path.name not in there]:
                path.unlink()  # somebody has taken its images back in


def write_index(exports: Path) -> Path:
    """Write the list that a mirror of a web server reads; returns its path."""
    models = {name: list_versions(exports / name) for name in published_models(exports)}
    replace(exports / INDEX, (json.dumps({"models": models}, indent=1) + "\n").encode())
    return exports / INDEX
