"""The folder that training publishes into and the service reads: versions of models, and which of them is live.

    exports/default.json                  which model answers requests that name none (models.store.default)
    exports/<model>/<version>/            a sealed bundle (models.bundle.manifest)
    exports/<model>/live.json             which versions have a part: `LivePointer`
    exports/<model>/history.jsonl         every change of that, oldest first

A version appears by one rename and the pointer changes by one rename, so that a kill at any instant leaves the
old state or the new one. One writer at a time per model, by a lock that the kernel frees.
"""

import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from models.bundle.manifest import BrokenBundle, read_manifest, verify
from models.errors import Failed, UserError
from models.files.deadline import Turn
from models.files.durable import chmod, fsync_path, fsync_tree, write_durably
from models.files.locks import locked
from models.files.typed import read_json
from models.store.default import DEFAULT, write_default

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LIVE, HISTORY, LOCK = "live.json", "history.jsonl", ".lock"
STAGING_PREFIX = ".staging-"  # no integer, so that nobody takes it for a version


@dataclass(frozen=True, slots=True)
class LivePointer:
    """Which versions of a model have a part.

    Raises:
        ValueError: a version is no number from 1, or the fraction is none.

    Attributes:
        live: it answers.
        previous: it was live before; kept warm, so that a rollback is instant.
        canary: it answers `canary_fraction` of the requests that name no version.
        shadow: it is asked too, and its answers are compared and never returned.
        unloaded: none of them is to have an engine.
    """

    live: int | None = None
    previous: int | None = None
    canary: int | None = None
    shadow: int | None = None
    canary_fraction: float = 0.0
    unloaded: bool = False

    def __post_init__(self) -> None:
        versions = (self.live, self.previous, self.canary, self.shadow)
        if any(version is not None and version < 1 for version in versions) or not 0 <= self.canary_fraction <= 1:
            raise ValueError(f"versions are numbered from 1, and fractions are from 0 to 1, unlike in {asdict(self)}")


def check_model_name(name: str) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise UserError(
            f"No model can be called {name!r}: use 1 to 64 of a-z, 0-9, - and _, starting with a letter or digit."
        )
    return name


def publish(
    bundle: Path, exports: Path, *, make_live: bool = True, on_step: Callable[[str], None] = lambda step: None
) -> int:
    """Copy a sealed bundle to `exports/<model>/<version>` under the next free number; returns that number.

    Args:
        make_live: point the live pointer at it too.
        on_step: called between steps with the name of the one just done; tests kill the process in it.

    Raises:
        BrokenBundle: the copy does not verify; nothing was published.
    """
    model = check_model_name(read_manifest(bundle).model)
    home = exports / model
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / LOCK):
        collect_garbage(home)
        before = read_live(home)
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=home))
        try:
            on_step("staged")
            copy_tree(bundle, staging)
            chmod(staging, 0o755)  # mkdtemp makes it private, and the service may be another user
            on_step("copied")
            verify(staging)
            fsync_tree(staging)
            on_step("verified")
            version = claim_version(home)
            if not (home / LIVE).exists():  # without a pointer the newest version would be live
                write_durably(home / LIVE, json.dumps(asdict(before), indent=2) + "\n")
            with keeping_default(exports, model):
                staging.rename(home / str(version))
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        fsync_path(home)
        on_step("renamed")
        if make_live:
            point_live(home, version, before=before, on_step=on_step)
    return version


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


class Overtaken(Failed):
    """Somebody else has changed which version is live, and so nothing was done."""


def set_live(
    exports: Path, model: str, version: int, *, instead_of: int | None = None, turn: Turn | None = None
) -> LivePointer:
    """Send a model's traffic to a version that is there.

    Args:
        instead_of: the version that has to be live until then; None: whichever is.
        turn: begun when the lock is had, here as below.

    Raises:
        BrokenBundle: the version is missing or does not verify; the pointer stays.
        Overtaken: another one is live.
        GivenUp: whoever asked has given up; the pointer stays, here as below.
    """
    home = find_version(exports, model, version)
    with locked(home / LOCK, turn=turn):
        check_still_live(home, instead_of)
        return point_live(home, version)


def check_still_live(home: Path, version: int | None) -> None:
    live = read_live(home).live
    if version is not None and live != version:
        raise Overtaken(f"Version {live} of {home.name} was made live meanwhile, instead of {version}.")


def roll_back(exports: Path, model: str, *, instead_of: int | None = None, turn: Turn | None = None) -> LivePointer:
    """Send a model's traffic to the version that was live before; the canary ends, too.

    Args:
        instead_of: the version that has to be live until then; None: whichever is.

    Raises:
        BrokenBundle: there is none, or it does not verify; the pointer stays.
        Overtaken: another one is live.
    """
    home = existing(exports / check_model_name(model))
    with locked(home / LOCK, turn=turn):
        check_still_live(home, instead_of)
        previous = read_live(home).previous
        if previous is None:
            raise BrokenBundle(f"{home} has no version that was live before; promote one by its number.")
        find_version(exports, model, previous)
        return point_live(home, previous)


def set_canary(
    exports: Path, model: str, version: int | None, fraction: float, *, turn: Turn | None = None
) -> LivePointer:
    """Have a version answer a fraction of the requests; None ends it.

    Raises:
        BrokenBundle: the version is missing, does not verify, or is live already.
        UserError: there is no such fraction.
    """
    if version is not None and not 0 < fraction <= 1:
        raise UserError(f"A canary answers a fraction of the requests above 0 and up to 1, not {fraction:g}.")
    changes = {"canary": version, "canary_fraction": fraction if version is not None else 0.0}
    return give_part(exports, model, version, changes, turn)


def set_shadow(exports: Path, model: str, version: int | None, *, turn: Turn | None = None) -> LivePointer:
    """Ask a version whatever the live one is asked, for comparison alone; None ends it.

    Raises:
        BrokenBundle: the version is missing, does not verify, or is live already.
    """
    return give_part(exports, model, version, {"shadow": version}, turn)


def give_part(
    exports: Path, model: str, version: int | None, changes: dict[str, int | float | None], turn: Turn | None
) -> LivePointer:
    home = existing(exports / check_model_name(model))
    if version is not None:
        find_version(exports, model, version)
    with locked(home / LOCK, turn=turn):
        before = read_live(home)
        if version is not None and version == before.live:
            raise BrokenBundle(f"Version {version} of {model} is live already.")
        return point(home, replace(before, **changes))  # type: ignore[arg-type]


def set_loaded(exports: Path, model: str, *, loaded: bool, turn: Turn | None = None) -> LivePointer:
    """Have a model's versions loaded or none of them.

    Raises:
        BrokenBundle: there is no such model.
    """
    home = existing(exports / check_model_name(model))
    with locked(home / LOCK, turn=turn):
        return point(home, replace(read_live(home), unloaded=not loaded))


def set_default(exports: Path, model: str, *, turn: Turn | None = None) -> str:
    """Have a model answer the requests that name none; returns its name.

    Raises:
        BrokenBundle: there is no such model, or it has no version.
        GivenUp: whoever asked has given up; the default stays.
    """
    if not list_versions(existing(exports / check_model_name(model))):
        raise BrokenBundle(f"{exports / model} has no version yet; publish one first.")
    with locked(exports / LOCK, turn=turn):
        write_default(exports, model)
    return model


def find_version(exports: Path, model: str, version: int) -> Path:
    """The model's folder, if it has this version and that is sound.

    Raises:
        BrokenBundle: it is missing or does not verify.
    """
    home = existing(exports / check_model_name(model))
    if version not in list_versions(home):
        known = ", ".join(map(str, list_versions(home))) or "none"
        raise BrokenBundle(f"{home} has no version {version}; it has {known}.")
    verify(home / str(version))
    return home


def existing(home: Path) -> Path:
    """
    Raises:
        BrokenBundle: there is no such model.
    """
    if not home.is_dir():
        known = ", ".join(list_models(home.parent)) or "none"
        raise BrokenBundle(f"{home.parent} has no model {home.name}; it has {known}.")
    return home


def point_live(
    home: Path,
    version: int,
    *,
    before: LivePointer | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> LivePointer:
    """Replace the live version, which is kept in mind. A canary ends, since it was compared with that.

    Args:
        before: the pointer as it was before the version was there.
    """
    before = before or read_live(home)
    previous = before.previous if before.live == version else before.live
    shadow = before.shadow if before.shadow != version else None
    return point(home, LivePointer(version, previous, shadow=shadow), on_step=on_step)


def point(home: Path, after: LivePointer, *, on_step: Callable[[str], None] = lambda step: None) -> LivePointer:
    """Replace the pointer, and record that."""
    write_durably(home / LIVE, json.dumps(asdict(after), indent=2) + "\n")
    on_step("pointed")
    change = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **asdict(after)}
    history = home / HISTORY
    before_it = history.read_text(encoding="utf-8", errors="replace").splitlines() if history.exists() else []
    write_durably(history, "\n".join([*before_it, json.dumps(change), ""]))
    on_step("recorded")
    return after


def read_live(home: Path) -> LivePointer:
    """The pointer in `exports/<model>`; without one, the newest version is live.

    Raises:
        BrokenBundle: there is a pointer that cannot be read.
    """
    path = home / LIVE
    try:
        return read_json(path, LivePointer)
    except FileNotFoundError:
        return LivePointer(live=max(list_versions(home), default=None))
    except (OSError, ValueError) as error:
        raise BrokenBundle(f"{path} is no live pointer ({error}); publish again or delete it.") from error


def list_models(exports: Path) -> list[str]:
    """Names of the models that have a directory in `exports`, sorted; [] where there is no such directory."""
    if not exports.is_dir():
        return []
    return sorted(path.name for path in exports.iterdir() if MODEL_NAME.fullmatch(path.name) and path.is_dir())


def published_models(exports: Path) -> list[str]:
    """Names of the models that have a version, sorted."""
    return [name for name in list_models(exports) if list_versions(exports / name)]


def list_versions(home: Path) -> list[int]:
    """Numbers of the versions in `exports/<model>`, ascending; whether they are sound is for `verify` to say."""
    names = [path.name for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,17}", name))


def claim_version(home: Path) -> int:
    """One more than any version there, or ever claimed: a number is never used twice.

    Raises:
        BrokenBundle: the file that says which was the last claimed says something else.
    """
    claimed = home / ".claimed"
    try:
        last = read_json(claimed, int) if claimed.exists() else 0
    except ValueError as error:
        raise BrokenBundle(
            f"{claimed} does not say which version was numbered last ({error}); write the highest number that was "
            "ever used into it."
        ) from error
    version = max([last, *list_versions(home)]) + 1
    write_durably(claimed, f"{version}\n")
    return version


def collect_garbage(home: Path) -> None:
    """Remove what publishes that were killed left behind; under the lock, so none is another's work."""
    for path in home.glob(".*-*"):  # staging directories, and the temporary files of write_durably
        shutil.rmtree(path) if path.is_dir() else path.unlink()
