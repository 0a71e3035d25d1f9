"""Deletes versions that nobody needs any more; what their descendants have to know of them stays.

    exports/<model>/pruned/<version>/assets.extra/    its manifest, model card and list of images: which images later
                                                      models were trained on has to be known for ever

A version stays while it has a part (live, previous, canary, shadow), or while a retraining job that has begun on this
machine compares with it. Of an object store the versions themselves are deleted, and uploads that were cut off more
than a day ago.
"""

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from models.bundle.manifest import MANIFEST, BrokenBundle, read_manifest
from models.files.locks import locked
from models.files.typed import read_json
from models.store.layout import LOCK, PRUNED, list_models, list_versions
from models.store.live import parts, read_live
from models.store.mirror import refresh
from models.store.origin import OUTLINE, new_folder, origin_of, replace

DAY_S = 86_400
CUT_OFF_S = DAY_S  # an upload without a new file for so long has been given up
UNFINISHED = Path("retrain/unfinished.json")  # of a retraining job; names the version that it compares with


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of each model beside the versions that are needed; 0: no limit.

    Attributes:
        versions: the newest so many.
        days: versions that are not older.
        num_bytes: versions up to so many bytes together, the newest first.
    """

    versions: int = 0
    days: float = 0.0
    num_bytes: int = 0

    @property
    def is_unlimited(self) -> bool:
        return not (self.versions or self.days or self.num_bytes)


@dataclass(frozen=True, slots=True)
class Pruned:
    """A version that was deleted, or would be."""

    model: str
    version: int
    num_bytes: int
    reason: str


class Champion(TypedDict):
    """What is read of a job's file."""

    champion: int | None


def prune(exports: Path, retention: Retention, *, model: str | None = None, dry: bool = False) -> list[Pruned]:
    """Delete what the limits do not keep, the oldest first; returns what was deleted.

    Args:
        model: of this one only; None: of all.
        dry: delete nothing.

    Raises:
        BrokenBundle: a model's live pointer cannot be read; nothing of that model was deleted.
        StoreAway: the exports are a mirror, whose origin does not answer.
        OSError: the exports cannot be written.
    """
    names = list_models(exports) if model is None else [model]
    return [each for name in names for each in prune_model(exports, name, retention, dry=dry)]


def prune_model(exports: Path, name: str, retention: Retention, *, dry: bool) -> list[Pruned]:
    home, store = exports / name, origin_of(exports)
    refresh(home)
    sizes = sizes_of(home)
    with locked(home / LOCK):
        doomed = choose(retention, sizes, {v: made_at(home / str(v)) for v in sizes}, needed(home), time.time())
        doomed = [each for each in doomed if dry or delete(home, each[0])]
    if store is not None and not dry:
        delete_cut_off(home)
    return [Pruned(name, version, sizes[version], reason) for version, reason in doomed]


def choose(
    retention: Retention, sizes: dict[int, int], made: dict[int, float], needed: set[int], now: float
) -> list[tuple[int, str]]:
    """Versions that are to be deleted, and why, the oldest first.

    Args:
        sizes: bytes of every version.
        made: when each was made, in seconds of the epoch.
        needed: versions that stay, whatever the limits say; they count like others.
    """
    doomed, total = [], 0
    for rank, version in enumerate(sorted(sizes, reverse=True)):
        age = (now - made[version]) / DAY_S
        too_big = retention.num_bytes and total + sizes[version] > retention.num_bytes
        reason = (
            f"{rank} newer versions are kept"
            if retention.versions and rank >= retention.versions
            else f"it is {age:.0f} days old"
            if retention.days and age > retention.days
            else f"newer versions have {total:,} bytes"
            if too_big
            else ""
        )
        if reason and version not in needed:
            doomed.append((version, reason))
        else:
            total += sizes[version]
    return doomed[::-1]


def needed(home: Path) -> set[int]:
    """Versions that must stay.

    Raises:
        BrokenBundle: the pointer cannot be read.
    """
    found = parts(read_live(home))
    with contextlib.suppress(FileNotFoundError):
        try:
            champion = read_json(home / UNFINISHED, Champion)["champion"]
            found |= set() if champion is None else {champion}
        except ValueError as error:
            raise BrokenBundle(
                f"{home / UNFINISHED} cannot be read ({error}); delete it, or let its job end."
            ) from None
    return found


def made_at(bundle: Path) -> float:
    """Seconds of the epoch: as the manifest says, or the time of its file."""
    with contextlib.suppress(BrokenBundle, LookupError, ValueError, TypeError):
        return datetime.fromisoformat(read_manifest(bundle).lineage["created_at"]).timestamp()
    return (bundle / MANIFEST).stat().st_mtime if (bundle / MANIFEST).exists() else bundle.stat().st_mtime


def sizes_of(home: Path) -> dict[int, int]:
    """Bytes of each version: at the origin, where the exports are a mirror."""
    store, versions = origin_of(home.parent), list_versions(home)
    if store is None:
        files = {version: (home / str(version)).rglob("*") for version in versions}
        return {
            version: sum(path.stat().st_size for path in paths if path.is_file()) for version, paths in files.items()
        }
    found = dict.fromkeys(versions, 0)
    for key, size in store.sizes(home.name).items():
        folder = key.partition("/")[0]
        if folder.isdecimal() and int(folder) in found:
            found[int(folder)] += size
    return found


def num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def delete(home: Path, version: int) -> bool:
    """Delete one version but for its record; the caller holds the model's lock.

    Returns:
        Whether that was done: at an object store another machine may have given it a part just now.
    """
    bundle, store = home / str(version), origin_of(home.parent)
    record = home / PRUNED / str(version)
    for path in (path for path in OUTLINE if (bundle / path).exists()):
        replace(record / path, (bundle / path).read_bytes())
        if store is not None:
            store.send(record / path, f"{home.name}/{PRUNED}/{version}/{path.as_posix()}")
    if store is not None:
        prefix = f"{home.name}/{version}"
        manifest = f"{prefix}/{MANIFEST.as_posix()}"
        store.delete([manifest])  # first, so that nobody sees half a version
        refresh(home, is_locked=True)
        if version in parts(read_live(home)):
            store.write(manifest, (record / MANIFEST).read_bytes(), instead_of=None)
            return False
        store.delete([f"{prefix}/{key}" for key in store.sizes(prefix)])
    with new_folder(home) as trash:  # it is out of sight by one rename
        bundle.rename(trash / bundle.name)
    return True


def delete_cut_off(home: Path) -> None:
    """Delete what uploads that were cut off left at the origin more than a day ago: versions without a manifest."""
    store = origin_of(home.parent)
    assert store is not None
    found: dict[str, list[str]] = {}
    for key in store.sizes(home.name):
        folder, _, rest = key.partition("/")
        if folder.isdecimal() and rest:
            found.setdefault(folder, []).append(rest)
    for folder, keys in found.items():
        if MANIFEST.as_posix() not in keys:
            prefix = f"{home.name}/{folder}"
            if store.youngest(prefix) < time.time() - CUT_OFF_S:
                store.delete([f"{prefix}/{key}" for key in keys])
