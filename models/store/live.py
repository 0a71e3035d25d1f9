"""Which versions of a model answer: the pointer `exports/<model>/live.json`, and the history of its changes."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from models.bundle.manifest import MANIFEST, BrokenBundle
from models.errors import Failed, UserError
from models.files.deadline import PendingChange
from models.files.locks import locked
from models.files.typed import read_json
from models.store.layout import LOCK, check_model_name, existing, find_version, list_versions
from models.store.origin import origin_of, rewrite, with_line

log = logging.getLogger(__name__)

EXAMPLE = '{"live": 2}'
LIVE = "live.json"
HISTORY = "history.jsonl"


@dataclass(frozen=True, slots=True)
class LivePointer:
    """Which versions of a model have a part.

    Raises:
        ValueError: a version is below 1, or `canary_fraction` is outside of [0, 1].

    Attributes:
        live: it answers.
        previous: it was live before; kept warm, so that a rollback is instant.
        canary: it answers `canary_fraction` of the requests that name no version.
        shadow: it classifies the live version's images as well; its answers are compared, and never returned.
        unloaded: the service loads none of the versions.
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


class LiveVersionChanged(Failed):
    """Somebody else has changed which version is live, and so nothing was done."""


def set_live(
    exports: Path, model: str, version: int, *, instead_of: int | None = None, pending: PendingChange | None = None
) -> LivePointer:
    """Send a model's traffic to a version that is there.

    Args:
        instead_of: the version that has to be live until then; None: whichever is.
        pending: the change, which begins when the lock is held; also in the functions below.

    Raises:
        BrokenBundle: the version is missing or does not verify; the pointer stays.
        LiveVersionChanged: another one is live.
        ChangeCancelled: whoever asked has given up; the pointer stays, here as below.
    """
    home = find_version(exports, model, version)

    def change(before: LivePointer) -> LivePointer:
        check_still_live(home, before, instead_of)
        return with_live(before, version)

    with locked(home / LOCK, pending=pending):
        return point(home, change)


def check_still_live(home: Path, pointer: LivePointer, version: int | None) -> None:
    if version is not None and pointer.live != version:
        raise LiveVersionChanged(
            f"Version {pointer.live} of {home.name} was made live meanwhile, instead of {version}."
        )


def roll_back(
    exports: Path, model: str, *, instead_of: int | None = None, pending: PendingChange | None = None
) -> LivePointer:
    """Send a model's traffic to the version that was live before; the canary ends, too.

    Args:
        instead_of: the version that has to be live until then; None: whichever is.

    Raises:
        BrokenBundle: there is none, or it does not verify; the pointer stays.
        LiveVersionChanged: another one is live.
    """
    home = existing(exports / check_model_name(model))

    def change(before: LivePointer) -> LivePointer:
        check_still_live(home, before, instead_of)
        if before.previous is None:
            raise BrokenBundle(f"{home} has no version that was live before; promote one by its number.")
        find_version(exports, model, before.previous)
        return with_live(before, before.previous)

    with locked(home / LOCK, pending=pending):
        return point(home, change)


def set_canary(
    exports: Path, model: str, version: int | None, fraction: float, *, pending: PendingChange | None = None
) -> LivePointer:
    """Have a version answer a fraction of the requests; None ends it.

    Raises:
        BrokenBundle: the version is missing, does not verify, or is live already.
        UserError: there is no such fraction.
    """
    if version is not None and not 0 < fraction <= 1:
        raise UserError(f"A canary answers a fraction of the requests above 0 and up to 1, not {fraction:g}.")
    changes = {"canary": version, "canary_fraction": fraction if version is not None else 0.0}
    return give_part(exports, model, version, changes, pending)


def set_shadow(exports: Path, model: str, version: int | None, *, pending: PendingChange | None = None) -> LivePointer:
    """Ask a version whatever the live one is asked, for comparison alone; None ends it.

    Raises:
        BrokenBundle: the version is missing, does not verify, or is live already.
    """
    return give_part(exports, model, version, {"shadow": version}, pending)


def give_part(
    exports: Path,
    model: str,
    version: int | None,
    changes: dict[str, int | float | None],
    pending: PendingChange | None,
) -> LivePointer:
    home = existing(exports / check_model_name(model))
    if version is not None:
        find_version(exports, model, version)

    def change(before: LivePointer) -> LivePointer:
        if version is not None and version == before.live:
            raise BrokenBundle(f"Version {version} of {model} is live already.")
        return replace(before, **changes)  # type: ignore[arg-type]

    with locked(home / LOCK, pending=pending):
        return point(home, change)


def set_loaded(exports: Path, model: str, *, loaded: bool, pending: PendingChange | None = None) -> LivePointer:
    """Have a model's versions loaded or none of them.

    Raises:
        BrokenBundle: there is no such model.
    """
    home = existing(exports / check_model_name(model))
    with locked(home / LOCK, pending=pending):
        return point(home, partial(replace, unloaded=not loaded))


def with_live(before: LivePointer, version: int) -> LivePointer:
    """Another version is live, and the one that was is kept in mind. A canary ends, since it was compared with that."""
    previous = before.previous if before.live == version else before.live
    return LivePointer(version, previous, shadow=before.shadow if before.shadow != version else None)


def point(
    home: Path,
    change: Callable[[LivePointer], LivePointer],
    *,
    on_step: Callable[[str], None] = lambda step: None,
) -> LivePointer:
    """Replace the pointer by what `change` makes of it, and record that; the caller holds the model's lock."""
    before = after = LivePointer()

    def changed() -> bytes:
        nonlocal before, after
        before = read_live(home)
        after = change(before)
        return as_json(after)

    rewrite(home.parent, f"{home.name}/{LIVE}", changed)
    on_step("pointed")
    check_not_pruned(home, before, after)
    line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **asdict(after)})
    try:
        rewrite(home.parent, f"{home.name}/{HISTORY}", lambda: with_line(home / HISTORY, line))
    except Failed as error:  # the change has been made, and nobody should try it again
        log.error("the history of %s lacks a change: %s", home.name, error)
    on_step("recorded")
    return after


def check_not_pruned(home: Path, before: LivePointer, after: LivePointer) -> None:
    """Take a pointer at an object store back if a version that has a part now was pruned by another machine meanwhile.

    Raises:
        BrokenBundle: that is so.
    """
    store = origin_of(home.parent)
    for version in sorted(parts(after) - parts(before)) if store is not None else ():
        if store is not None and store.read(f"{home.name}/{version}/{MANIFEST.as_posix()}") is None:
            rewrite(home.parent, f"{home.name}/{LIVE}", lambda: as_json(before))
            raise BrokenBundle(f"Version {version} of {home.name} was deleted just now.")


def parts(pointer: LivePointer) -> set[int]:
    """Versions that have a part, loaded or not."""
    found = (pointer.live, pointer.previous, pointer.canary, pointer.shadow)
    return {version for version in found if version is not None}


def as_json(pointer: LivePointer) -> bytes:
    return (json.dumps(asdict(pointer), indent=2) + "\n").encode()


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
        raise BrokenBundle(
            f"{path} is no live pointer ({error}). Write {EXAMPLE} into it, with the number of a good version."
        ) from error
