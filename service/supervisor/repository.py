"""The exports as a thread of the supervisor sees them: it looks at them again and again, and hands over what it found.

The supervisor's loop itself never reads that disk. It may be a network file system that does not answer for minutes,
and engines have to be heard and started again meanwhile.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from models.bundle.manifest import BrokenBundle
from models.files.stamp import ABSENT, Stamp, stamp_of
from models.store.default import read_default
from models.store.layout import list_models
from models.store.live import LIVE, LivePointer, read_live
from service.supervisor.arrival import Arrival, look_at

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class SeenModel:
    """What one look found of a model."""

    pointer: LivePointer | None  # None where the live pointer cannot be read; `error` says why
    stamp: Stamp = ABSENT  # of the pointer's file
    error: str | None = None
    arrivals: dict[int, Arrival] = field(default_factory=dict)  # the files of each version that was looked at
    is_gone: bool = False  # its folder was deleted


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found of the exports; what could not be read is missing, and `error` says why."""

    models: dict[str, SeenModel] = field(default_factory=dict)
    default: str | None = None
    error: str | None = None


# The version that answers, which the pointer may name no more, and those with an engine, whose files are not looked at.
Interest = tuple[int | None, set[int]]


class Repository:
    """
    Args:
        wake: called from the thread after each look.
        interests: called from the thread before each look, for what the supervisor wants to know by model.
    """

    def __init__(self, exports: Path, wake: Callable[[], object], interests: Callable[[], dict[str, Interest]]) -> None:
        self._exports = exports
        self._wake = wake
        self._interests = interests
        self._seen: Seen | None = None
        self._looked_at = time.monotonic()
        threading.Thread(target=self._look_again_and_again, daemon=True).start()  # it may hang for ever in the disk

    def latest(self) -> Seen | None:
        """What was found since this was called last; None where nothing new was."""
        seen, self._seen = self._seen, None
        return seen

    @property
    def silent_s(self) -> float:
        """Time since the last look ended."""
        return time.monotonic() - self._looked_at

    def _look_again_and_again(self) -> None:
        before: dict[str, SeenModel] = {}
        while True:
            try:
                self._seen = seen = look(self._exports, self._interests(), before)
                before = seen.models
            except Exception:
                log.exception("the look at %s failed; it is tried again", self._exports)
            self._looked_at = time.monotonic()
            self._wake()
            time.sleep(LOOK_INTERVAL_S)


def look(exports: Path, interests: dict[str, Interest], before: dict[str, SeenModel]) -> Seen:
    """
    Args:
        before: what the last look found; the list of a version's files is read again only if its manifest has changed.
    """
    models: dict[str, SeenModel] = {}
    try:
        if interests and not (
            exports.is_dir() and any(exports.iterdir())
        ):  # as the mount point of a volume that is away
            return Seen(error=f"{exports} is empty; the models that were there go on answering")
        for name in {*list_models(exports), *interests}:
            models[name] = look_at_model(exports / name, interests.get(name, (None, set())), before.get(name))
        return Seen(models, read_default(exports))
    except BrokenBundle as error:
        return Seen(models, error=str(error))
    except OSError as error:  # a file system that is away for a while; what is loaded goes on answering
        return Seen(models, error=f"{exports} cannot be read: {error}")


def look_at_model(home: Path, interest: Interest, before: SeenModel | None = None) -> SeenModel:
    if not home.is_dir():
        return SeenModel(None, is_gone=True)
    stamp = stamp_of(home / LIVE)
    try:
        pointer = read_live(home)
    except (BrokenBundle, OSError) as error:
        return SeenModel(None, error=str(error))
    known = before.arrivals if before is not None else {}
    serving, running = interest
    numbers = {pointer.live, pointer.previous, pointer.canary, pointer.shadow, serving} - {None, *running}
    arrivals = {number: look_at(home / str(number), known.get(number)) for number in numbers if number is not None}
    return SeenModel(pointer, stamp, arrivals=arrivals)
