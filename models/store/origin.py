"""Exports that mirror an object store: `origin.json` in such a folder names the address.

    exports/origin.json                   {"address": "s3://bucket/models"}

The commands and the service work on a mirror as on any other exports. What changes exports replaces small files by
`rewrite`, which changes them at the origin first, by a conditional write: of two writers that read the same content,
one wins, and the other reads again. models.store.mirror brings to the folder what others have changed.
"""

import contextlib
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from models.bundle.manifest import CARD, IMAGES, MANIFEST, BrokenBundle, Manifest, read_manifest
from models.errors import StoreChanged, UserError
from models.files.durable import chmod, replacing
from models.files.locks import locked, take_lock
from models.files.typed import read_json
from models.process.lazy import imported_when_used

with imported_when_used():  # obstore, which only mirrors need
    import models.store.objects as objects

ORIGIN = "origin.json"
STAGING_PREFIX = ".staging-"  # no integer, so that nobody takes it for a version
OUTLINE = (MANIFEST, IMAGES, CARD)  # of a version that no service here loads: what its descendants need of it
SCHEMES = ("s3://", "gs://", "az://", "http://", "https://")
TRIES = 20  # of a write that others are faster with, again and again
LONGEST_PAUSE_S = 0.2  # between two of them


@dataclass(frozen=True, slots=True)
class Origin:
    address: str


def is_address(text: str) -> bool:
    """Whether exports are an object store, and not a folder."""
    return text.startswith(SCHEMES)


def check_installed(exports: str) -> None:
    """
    Raises:
        UserError: the exports are in an object store, and the library for it is not installed.
    """
    if is_address(exports) and find_spec("obstore") is None:
        raise UserError(
            f"The exports are {exports}, and object stores need obstore, which is not installed here: "
            "pip install 'striate[store]'."
        )


def mirror_folder(address: str, cache: Path | None = None) -> Path:
    """The folder that mirrors an address; it is made where there is none.

    Args:
        cache: where such folders are; None: in the folder for temporary files.

    Raises:
        UserError: somebody else has made a folder of this name.
    """
    cache = cache or Path(tempfile.gettempdir()) / f"striate-{os.getuid()}"
    address = address.rstrip("/")
    folder = cache / sha256(address.encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or cache.stat().st_uid not in (0, os.getuid()):
        raise UserError(f"{folder} belongs to another user: name a folder of your own with SERVICE_CACHE.")
    if not (folder / ORIGIN).exists():
        with replacing(folder / ORIGIN) as temporary:
            temporary.write_text(json.dumps({"address": address}) + "\n", encoding="utf-8")
    return folder


def origin_of(exports: Path) -> "objects.ObjectStore | None":
    """The store that a folder of exports mirrors; None where the folder stands for itself."""
    try:
        address = read_json(exports / ORIGIN, Origin).address
    except FileNotFoundError:
        return None
    return objects.object_store(address)


def rewrite(exports: Path, name: str, change: Callable[[], bytes]) -> None:
    """Replace a small file of the exports durably by what `change` returns, which may read it.

    At a mirror's origin that is one conditional write; whatever another writer has put there before is read first, and
    `change` is called again if somebody writes at the same time. The caller holds the lock of the folder.

    Raises:
        StoreAway: the origin does not answer; the change may have been made.
        StoreChanged: others are faster all the time; nothing was changed.
        UserError: the origin can only be read.
    """
    path, store = exports / name, origin_of(exports)
    if store is None:
        replace(path, change())
        return
    store.check_writable()
    for attempt in range(TRIES):
        found = store.read(name)
        bring(path, found.data if found else None)
        data = change()
        try:
            store.write(name, data, instead_of=found.tag if found else None)
        except StoreChanged:
            if attempt == TRIES - 1:
                raise
            time.sleep(random.uniform(0, LONGEST_PAUSE_S))
        else:
            bring(path, data)
            return


def bring(path: Path, data: bytes | None) -> None:
    """Have a file with this content; one that has it already keeps its time. None: there is no such file."""
    if data is None:
        path.unlink(missing_ok=True)
    elif not path.exists() or path.read_bytes() != data:
        replace(path, data)


def with_line(path: Path, line: str) -> bytes:
    """The content of a file of lines with one more; of a last line that was cut short the rest is closed first."""
    before = path.read_bytes() if path.exists() else b""
    return before + (b"\n" if before and not before.endswith(b"\n") else b"") + line.encode() + b"\n"


def replace(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def outline(exports: Path, model: str, version: int) -> Manifest | None:
    """Have what is said of one of the origin's versions in its folder; nothing else of it need be there.

    Returns:
        The manifest; None where the origin has no such version, or its upload has not ended.

    Raises:
        BrokenBundle: the manifest cannot be read.
        StoreAway: the origin does not answer.
    """
    store, bundle = origin_of(exports), exports / model / str(version)
    assert store is not None
    if not (bundle / MANIFEST).exists():
        found = store.read(f"{model}/{version}/{MANIFEST.as_posix()}")
        if found is None:
            return None
        with new_folder(bundle.parent) as staging:
            replace(staging / MANIFEST, found.data)
            for name in {path.as_posix() for path in OUTLINE} & read_manifest(staging).files.keys():
                with contextlib.suppress(FileNotFoundError):  # whoever needs the whole version says so
                    store.fetch(f"{model}/{version}/{name}", staging / name)
            with contextlib.suppress(OSError):  # the whole version has come meanwhile
                staging.rename(bundle)
    return read_manifest(bundle)


def keep_outline(bundle: Path) -> None:
    """Delete the files of a version but for what is said of it; the caller holds the model's lock."""
    with new_folder(bundle.parent) as staging:
        for path in (path for path in OUTLINE if (bundle / path).exists()):
            replace(staging / path, (bundle / path).read_bytes())
        put_in_place(staging, bundle)


@contextlib.contextmanager
def new_folder(home: Path) -> Iterator[Path]:
    """A folder beside the versions, to become one; where it has not become one, it is removed.

    It is locked as long as it is worked on, so that nobody takes it for a leftover.
    """
    home.mkdir(parents=True, exist_ok=True)
    staging, lock = new_locked_folder(home)
    try:
        chmod(staging, 0o755)  # mkdtemp makes it private, and the service may be another user
        yield staging
    finally:
        os.close(lock)
        shutil.rmtree(staging, ignore_errors=True)


def new_locked_folder(home: Path) -> tuple[Path, int]:
    """The folder, and the open file that holds its lock."""
    while True:  # whoever collects garbage may come between the two steps; then it is theirs
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=home))
        try:
            lock = take_lock(staging, folder=True, wait=False)
        except FileNotFoundError:
            continue
        except BaseException:
            staging.rmdir()
            raise
        if lock is not None:
            return staging, lock


def collect_garbage(home: Path) -> None:
    """Remove what processes that were killed left behind; the caller holds the model's lock."""
    for path in home.glob(".*-*"):  # staging directories, and the temporary files of `replacing`
        if path.is_dir():
            with contextlib.suppress(FileNotFoundError), locked(path, folder=True, wait=False) as is_free:
                if is_free:
                    shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def put_in_place(staging: Path, bundle: Path) -> None:
    """Have a version's folder be this one; what was there is removed."""
    old = staging.with_name(f"{staging.name}-old")
    if bundle.exists():
        bundle.rename(old)
    staging.rename(bundle)
    shutil.rmtree(old, ignore_errors=True)


def check_uploaded(exports: Path, model: str, version: int) -> None:
    """
    Raises:
        BrokenBundle: the origin lacks the version, or files of it.
        StoreAway: the origin does not answer.
    """
    store, manifest = origin_of(exports), outline(exports, model, version)
    assert store is not None
    if manifest is None:
        raise BrokenBundle(f"{store.address}/{model} has no version {version}.")
    if store.is_read_only:  # it has no lists; whoever loads the version misses what is missing
        return
    missing = sorted(manifest.files.keys() - store.sizes(f"{model}/{version}").keys())
    if missing:
        raise BrokenBundle(f"{store.address}/{model}/{version} lacks {', '.join(missing[:5])}; publish it again.")
