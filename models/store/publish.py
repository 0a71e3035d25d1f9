"""The folder that training publishes into and the service reads: versions of models, and which of them is live.

    exports/default.json                  which model answers requests that name none (models.store.default)
    exports/<model>/<version>/            a sealed bundle (models.bundle.manifest)
    exports/<model>/live.json             which versions have a part: `LivePointer`
    exports/<model>/history.jsonl         every change of that, oldest first

A version appears by one rename and the pointer changes by one rename, so that a kill at any instant leaves the
old state or the new one. One writer at a time changes a model, by a lock that the kernel frees.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from models.bundle.manifest import MANIFEST, BrokenBundle, read_manifest, verify
from models.files.deadline import PendingChange
from models.files.durable import fsync_path, fsync_tree, write_durably
from models.files.locks import locked
from models.files.typed import read_json
from models.store.default import DEFAULT, write_default
from models.store.layout import LOCK, check_model_name, existing, list_versions, published_models
from models.store.live import LIVE, as_json, point, read_live, with_live
from models.store.origin import collect_garbage, new_folder, origin_of, put_in_place, rewrite

CLAIMED = ".claimed"  # the last number; at an object store, a folder of numbers


def publish(
    bundle: Path, exports: Path, *, make_live: bool = True, on_step: Callable[[str], None] = lambda step: None
) -> int:
    """Copy a sealed bundle to `exports/<model>/<version>` under the next free number; returns that number.

    Of a mirror the copy is uploaded first, its manifest last, and so the version exists at once or not at all.

    Args:
        make_live: point the live pointer at it too.
        on_step: called between steps with the name of the one just done; tests kill the process in it.

    Raises:
        BrokenBundle: the copy does not verify; nothing was published.
        StoreAway: the mirror's origin does not answer; the version may be there, and is not live.
    """
    model = check_model_name(read_manifest(bundle).model)
    home = exports / model
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / LOCK):
        collect_garbage(home)
        read_live(home)  # a pointer that cannot be read is found before anything is copied
    with new_folder(home) as staging:
        on_step("staged")
        copy_tree(bundle, staging)
        on_step("copied")
        verify(staging)
        fsync_tree(staging)
        on_step("verified")
        with locked(home / LOCK):
            version = claim_version(home)
            if not (home / LIVE).exists() or origin_of(exports):  # without a pointer the newest version would be live
                rewrite(exports, f"{model}/{LIVE}", lambda: as_json(read_live(home)))
        upload(staging, exports, f"{model}/{version}", on_step)  # which may take long: others may go on meanwhile
        with locked(home / LOCK):
            with keeping_default(exports, model):
                put_in_place(staging, home / str(version))
            fsync_path(home)
            on_step("renamed")
            if make_live:
                point(home, lambda before: with_live(before, version), on_step=on_step)
    return version


def upload(staging: Path, exports: Path, prefix: str, on_step: Callable[[str], None]) -> None:
    """Send a version to the origin, if the exports are a mirror; its manifest comes last."""
    store = origin_of(exports)
    if store is None:
        return
    paths = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    for path in [path for path in paths if path != MANIFEST]:
        store.send(staging / path, f"{prefix}/{path.as_posix()}")
        on_step("sent")
    store.write(f"{prefix}/{MANIFEST.as_posix()}", (staging / MANIFEST).read_bytes(), instead_of=None)
    on_step("uploaded")


@contextlib.contextmanager
def keeping_default(exports: Path, model: str) -> Iterator[None]:
    """Around a publication: the first model of all becomes the default, and no later one takes that from it.

    Exports with several models and no default, which older versions have left, are left as they are.
    """
    if (exports / DEFAULT).exists() or list_versions(exports / model):
        yield
        return
    with locked(exports / LOCK):
        others = published_models(exports)
        if len(others) == 1 and not (exports / DEFAULT).exists():
            write_default(exports, others[0])
        yield
        if not others:
            write_default(exports, model)


def copy_tree(source: Path, target: Path) -> None:
    """
    Raises:
        OSError: the first fault; shutil would go on and raise a list of as many as there are files.
    """
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        copy.mkdir() if path.is_dir() else shutil.copyfile(path, copy)


def set_default(exports: Path, model: str, *, pending: PendingChange | None = None) -> str:
    """Have a model answer the requests that name none; returns its name.

    Raises:
        BrokenBundle: there is no such model, or it has no version.
        ChangeCancelled: whoever asked has given up; the default stays.
    """
    if not list_versions(existing(exports / check_model_name(model))):
        raise BrokenBundle(f"{exports / model} has no version yet; publish one first.")
    with locked(exports / LOCK, pending=pending):
        write_default(exports, model)
    return model


def claim_version(home: Path) -> int:
    """One more than any version there, or ever claimed: a number is never used twice."""
    claimed, store = home / CLAIMED, origin_of(home.parent)
    try:
        last = read_json(claimed, int) if claimed.exists() else 0
    except ValueError as error:
        raise BrokenBundle(
            f"{claimed} does not say which version was numbered last ({error}); write the highest number that was "
            "ever used into it."
        ) from error
    version = max([last, *list_versions(home)]) + 1
    while store is not None and not store.claim(f"{home.name}/{CLAIMED}/{version}"):
        version += 1  # another machine's
    write_durably(claimed, f"{version}\n")
    return version
