"""One model's versions: which should have an engine, and what becomes of one that fails.

At most two engines for what answers: the live version, and either the one that is to replace it or, so that a
rollback is instant, the one before; and one each for canary and shadow, where there are such. A new version answers
only once its engine has loaded, verified and warmed up. A version that fails harms no other: it is rejected until it
is mended, or parked and tried again ever more seldom.
"""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from models.bundle.manifest import BrokenBundle, Manifest, read_manifest
from models.files.stamp import ABSENT, stamp_of
from models.store.live import LIVE, LivePointer, read_live
from service.ipc.routes import Label, ModelRoute, State, VersionRoute
from service.supervisor.arrival import Arrival, look_at
from service.supervisor.complaints import Complaint
from service.supervisor.processes import EngineProcess

log = logging.getLogger(__name__)

MAX_ENGINES = 2  # of one model, but for canary and shadow
MAX_LOAD_CRASHES = 3  # in a row; then a version that has never loaded is rejected, and tried again after PARKED_S
STABLE_S = 2.0  # an engine that answered for so long starts afresh with the next one's backoff
FREE_RESTARTS = 2  # at once: a crash is hidden from clients only by a quick successor
LONGEST_BACKOFF_S = 30.0
MAX_CRASHES = 10  # in a row; then the version is parked: nobody waits for it, and it is tried again after PARKED_S
PARKED_S = 60.0  # twice as long after each further try
LONGEST_PARKED_S = 600.0


@dataclass(slots=True)
class Version:
    """What is known of one version.

    Attributes:
        manifest: set once its engine has loaded; kept when the bundle is deleted.
        load_s: from its engine's start to its readiness.
        crashes: in a row, since an engine last answered for STABLE_S.
        restarts: engines that died after they had answered.
        not_before: CLOCK_MONOTONIC time of the next try.
        rejected: why it is not to be served, until its files change or it is promoted again.
        rejections: since it was promoted last.
        is_temporary: its files may be sound, so that it is tried again without a change of them.
        arrival: what was there of it when it was looked at last; nobody looks while it has an engine.
        is_changing: somebody was writing its files between the last two looks.
    """

    engine: EngineProcess | None = None
    manifest: Manifest | None = None
    precision: str = ""
    load_s: float = 0.0
    crashes: int = 0
    restarts: int = 0
    not_before: float = 0.0
    rejected: str | None = None
    rejections: int = 0
    is_temporary: bool = False
    arrival: Arrival | None = None
    is_changing: bool = False

    @property
    def waiting(self) -> str | None:
        """Which files it waits for; None where it waits for none, or has loaded before."""
        return self.arrival.reason if self.arrival and self.manifest is None and self.engine is None else None

    @property
    def is_sound(self) -> bool:
        return self.rejected is None and self.waiting is None

    @property
    def is_parked(self) -> bool:
        return self.crashes >= MAX_CRASHES

    def may_start(self, now: float) -> bool:
        return self.engine is None and self.not_before <= now and not self.is_changing

    def try_again(self) -> None:
        """What was wrong with it may have been mended."""
        self.rejected, self.crashes, self.is_temporary = None, 0, False


class Model:
    """The versions of one model and the rules that start and end their engines.

    Attributes:
        serving: the version that answers; None until one has.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.serving: int | None = None
        self.versions: dict[int, Version] = {}
        self._pointer = LivePointer()
        self._pointer_stamp = ABSENT
        self._complaint = Complaint(log)

    def look(self) -> None:
        """Read the live pointer; one that cannot be read leaves everything as it is."""
        stamp = stamp_of(self.home / LIVE)
        try:
            self._pointer = read_live(self.home)
        except (BrokenBundle, OSError) as error:
            self._complaint.holds(str(error))
            return
        self._complaint.is_over()
        promoted, self._pointer_stamp = stamp != self._pointer_stamp, stamp
        for number in [*self._pointed(), *self._beside()]:
            if self._version(number).engine is None:
                self._look_at(number, promoted=promoted)
        known = {*self._pointed(), *self._beside()}
        for number in [n for n, version in self.versions.items() if version.engine is None and n not in known]:
            del self.versions[number]  # it has no part any more

    def _look_at(self, number: int, *, promoted: bool) -> None:
        """Try a rejected version again when somebody has changed its files and is done with it, or has promoted it.

        Whoever copies it slowly changes it again and again, so that each rejection is followed by a longer pause.
        """
        version = self._version(number)
        before, version.arrival = version.arrival, look_at(self.home / str(number), version.arrival)
        was_changing = version.is_changing
        version.is_changing = before is not None and before.stamps != version.arrival.stamps
        if promoted:
            version.not_before, version.rejections, version.is_changing = 0.0, 0, False
        if version.is_temporary and version.not_before <= time.monotonic():
            version.rejected = None  # its crashes stay counted
        if promoted or (was_changing and not version.is_changing) or version.waiting:
            version.try_again()
        if version.arrival.num_missing and (before is None or not before.num_missing):
            log.warning("%s: version %d is %s", self.home.name, number, version.arrival.reason)

    def wanted(self) -> list[int]:
        """Versions that should have an engine, the most urgent first."""
        sound = [n for n in self._pointed() if self._is_sound(n)]
        return list(dict.fromkeys([*sound[:MAX_ENGINES], *(n for n in self._beside() if self._is_sound(n))]))

    def _is_sound(self, number: int) -> bool:
        return number not in self.versions or self.versions[number].is_sound

    def _beside(self) -> list[int]:
        """Canary and shadow, where there are such."""
        beside = (self._pointer.canary, self._pointer.shadow)
        return [] if self._pointer.unloaded else [number for number in beside if number is not None]

    def _pointed(self) -> list[int]:
        if self._pointer.unloaded:
            return []
        pointed = [self._pointer.live, self.serving]
        if self._pointer.live == self.serving:
            pointed.append(self._pointer.previous)  # nothing is being replaced, so there is room for it
        return [number for number in dict.fromkeys(pointed) if number is not None]

    def to_retire(self) -> list[EngineProcess]:
        wanted = self.wanted()
        engines = [v.engine for number, v in self.versions.items() if number not in wanted]
        return [engine for engine in engines if engine is not None and engine.retired is None]

    def to_start(self) -> list[int]:
        """At most one version: the one that answers at once, another only while there is room and none loads."""
        now = time.monotonic()
        wanted = [(number, self._version(number)) for number in self.wanted()]
        idle = [number for number, version in wanted if version.may_start(now)]
        if self.serving in idle:
            return [self.serving]
        engines = [version.engine for version in self.versions.values() if version.engine is not None]
        loading = any(engine.ready is None for engine in engines)
        if loading or len(engines) >= MAX_ENGINES + len(set(self._beside()) - set(self._pointed()[:MAX_ENGINES])):
            return []
        return idle[:1]

    def _version(self, number: int) -> Version:
        """What is known of it, from now on."""
        return self.versions.setdefault(number, Version())

    def follow_pointer(self) -> None:
        """Traffic goes where the live pointer says as soon as an engine is ready there, new or warm."""
        if self._pointer.unloaded:
            self.serving = None
            return
        number = self._pointer.live
        version = self.versions.get(number) if number is not None else None
        engine = version.engine if version and version.manifest else None
        if engine and engine.ready and engine.retired is None and self.serving != number:
            log.info("%s: version %d is live, after %s", self.home.name, number, self.serving)
            self.serving = number

    def note_ready(self, number: int) -> None:
        """An engine has loaded what its manifest says."""
        version = self.versions[number]
        assert version.engine is not None
        assert version.engine.ready is not None
        try:
            version.manifest = read_manifest(self.home / str(number))
        except BrokenBundle as error:  # deleted just now
            self._reject(number, str(error))
        version.precision, version.rejections = version.engine.ready["precision"], 0
        version.load_s = round(time.monotonic() - version.engine.started, 3)
        said = ", ".join(f"{name} {value}" for name, value in version.engine.ready.items() if name != "event")
        log.info("%s version %d: ready after %.1f s: %s", self.home.name, number, version.load_s, said)

    def note_end(self, number: int, status: int) -> None:
        """An engine is gone: retired, refused its bundle, or died."""
        version = self.versions[number]
        engine, version.engine = version.engine, None
        assert engine is not None
        what = f"{self.home.name} version {number}"
        if engine.retired is not None:
            log.info("%s: engine %d retired", what, engine.pid)
        elif engine.ready is None and engine.failure:
            self._reject(number, engine.failure)
        else:
            self._back_off(number, engine)
            version.restarts += engine.ready is not None
            log.error("%s: engine %d ended with status %d (crash %d)", what, engine.pid, status, version.crashes)
            if engine.ready is None and version.manifest is None and version.crashes >= MAX_LOAD_CRASHES:
                self._reject(number, f"its engine ended {version.crashes} times while loading")
                version.is_temporary = True
                version.not_before = time.monotonic() + parked_s(version.crashes - MAX_LOAD_CRASHES)
        if number not in self.wanted() and version.rejected is None:
            del self.versions[number]

    def _back_off(self, number: int, engine: EngineProcess) -> None:
        version = self.versions[number]
        stable = engine.answered_for_s() > STABLE_S and not engine.stuck
        version.crashes = 1 if stable else version.crashes + 1
        pause = parked_s(version.crashes - MAX_CRASHES) if version.is_parked else backoff_s(version.crashes)
        version.not_before = time.monotonic() + pause
        if version.is_parked:
            log.error("%s version %d: parked for %g s: %s", self.home.name, number, pause, parked_reason(version))

    def _reject(self, number: int, reason: str) -> None:
        log.error("%s: version %d is rejected: %s", self.home.name, number, reason)
        version = self.versions[number]
        version.rejected = reason.replace(f"{self.home.parent}/", "")  # anybody may read it
        version.rejections, version.is_temporary = version.rejections + 1, False
        version.not_before = time.monotonic() + min(2.0 ** (version.rejections - 1), LONGEST_BACKOFF_S)

    @property
    def answers(self) -> bool:
        """An engine of the version that answers is up."""
        version = self.versions.get(self.serving) if self.serving is not None else None
        return version is not None and version.engine is not None and version.engine.ready is not None

    @property
    def is_unloaded(self) -> bool:
        """Somebody asked that it have no engines."""
        return self._pointer.unloaded

    def is_hopeless(self) -> bool:
        """The version that answers cannot be kept alive."""
        return self.serving is not None and self.versions[self.serving].is_parked

    def may_answer(self) -> bool:
        """It does, or a version of it may load yet."""
        return not self.is_hopeless() and bool(self.wanted())

    def route(self) -> ModelRoute:
        parts: dict[Label, int | None] = {
            "live": self.serving,
            "previous": self._pointer.previous,
            "canary": self._pointer.canary,
            "shadow": self._pointer.shadow,
        }
        return ModelRoute(
            self.serving,
            {number: self._version_route(number) for number in sorted(self.versions)},
            {label: number for label, number in parts.items() if number in self.versions},
            self._pointer.canary_fraction,
            self._pointer.unloaded,
        )

    def _version_route(self, number: int) -> VersionRoute:
        version = self.versions[number]
        if version.manifest is None:
            return VersionRoute(
                "rejected" if version.rejected else "loading", reason=version.rejected or version.waiting
            )
        manifest, engine = version.manifest, version.engine
        up = engine is not None and engine.ready is not None
        state: State = "available" if up else "rejected" if version.rejected else "restarting"
        reason = version.rejected
        if state == "restarting" and version.is_parked:
            state, reason = "parked", parked_reason(version)
        return VersionRoute(
            state,
            endpoint=engine.endpoint if engine and up else None,
            reason=reason,
            class_names=manifest.class_names,
            input_spec=manifest.input_spec,
            description={
                "architecture": manifest.architecture,
                "drawing": manifest.drawing,
                "precision": version.precision,
                "load_seconds": version.load_s,
                "accuracy": manifest.metrics.get("test", {}).get("accuracy"),
                "created_at": manifest.lineage.get("created_at"),
            },
            reference=manifest.reference,
            restarts=version.restarts,
        )


def none_can_answer(models: Collection[Model]) -> bool:
    """Whether the service has nothing left to do: a model cannot be kept alive, and no other answers or may load."""
    return any(model.is_hopeless() for model in models) and not any(model.may_answer() for model in models)


def backoff_s(crashes: int) -> float:
    """After so many in a row."""
    late = crashes - FREE_RESTARTS
    return min(2.0 ** (late - 1), LONGEST_BACKOFF_S) if late > 0 else 0.0


def parked_s(further_crashes: int) -> float:
    """After so many since it was parked."""
    return float(min(PARKED_S * 2.0 ** min(further_crashes, 10), LONGEST_PARKED_S))


def parked_reason(version: Version) -> str:
    return f"its engine ended {version.crashes} times in a row; it is tried again now and then"
