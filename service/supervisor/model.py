"""One model's versions: which of them should have an engine, and which one answers.

At most two versions for what answers: the live one, and either the one that is to replace it or, so that a rollback is
instant, the one before; and canary and shadow, where there are such. A new version answers
only once its engine has loaded, verified its bundle and warmed up. A version that fails harms no other.
"""

import logging
import time
from collections.abc import Collection
from pathlib import Path

from models.files.stamp import ABSENT
from models.store.live import LivePointer
from service.complaints import Complaint
from service.ipc.routes import Label, ModelRoute
from service.placement.devices import Device
from service.placement.place import Demand, Key, Rank
from service.supervisor.processes import EngineProcess
from service.supervisor.repository import Interest, SeenModel
from service.supervisor.version import Version

log = logging.getLogger(__name__)

MAX_VERSIONS = 2  # of one model that have engines, not counting canary and shadow


class Model:
    """The versions of one model and the rules that start and end their engines."""

    def __init__(self, home: Path, number: int = 0) -> None:
        self.home = home
        self.number = number  # in the order in which models were found
        self.serving: int | None = None  # the version that answers; None until one has
        self.versions: dict[int, Version] = {}
        self.pointer = LivePointer()
        self.is_removed = False
        self._was_gone = False  # in the last look
        self._pointer_stamp = ABSENT
        self._promoted: set[int] = set()  # by the newest pointer, which their files have not been looked at since
        self._placed: dict[int, tuple[Device, ...]] = {}  # where each wanted version is to have engines
        self._complaint = Complaint(log)

    def interest(self) -> Interest:
        """What the next look has to cover."""
        return self.serving, {number for number, version in self.versions.items() if version.engines}

    def take(self, seen: SeenModel) -> None:
        """Follow what a look has found; a pointer that cannot be read leaves everything as it is.

        A model whose folder is gone in two looks is removed: its engines finish what they have, and end.
        """
        if seen.is_gone:
            if self._was_gone and not self.is_removed:
                log.info("%s is removed, since its folder was deleted", self.home.name)
                self.is_removed, self.serving = True, None
            self._was_gone = True
            return
        self._was_gone = self.is_removed = False
        if seen.pointer is None:
            self._complaint.holds(str(seen.error))
            return
        self._complaint.is_over()
        is_new = seen.stamp != self._pointer_stamp
        self.pointer, self._pointer_stamp = seen.pointer, seen.stamp
        known = [*self._pointed(), *self._beside()]
        self._promoted = {*known} if is_new else self._promoted & {*known}
        for number in known:
            version = self._version(number)
            if not version.engines and number in seen.arrivals:
                version.note_arrival(seen.arrivals[number], promoted=number in self._promoted)
            if version.engines or number in seen.arrivals:
                self._promoted.discard(number)  # of others the engine has ended since the look, which left them out
        for number in [n for n, version in self.versions.items() if not version.engines and n not in known]:
            del self.versions[number]  # it has no part any more

    def wanted(self) -> list[int]:
        """Versions that should have an engine, the most urgent first."""
        sound = [n for n in self._pointed() if self._is_sound(n)]
        return list(dict.fromkeys([*sound[:MAX_VERSIONS], *(n for n in self._beside() if self._is_sound(n))]))

    def demands(self, asked_at: float, replicas: int) -> list[Demand]:
        """The engines that it should have, for `place`.

        A version that replaces another counts with what it needs more than that one: both are there for a while, even
        if the memory is meant for one.

        Args:
            asked_at: when it was asked last.
            replicas: engines of the version that answers; 0: one on each device.
        """
        found, answering = [], [n for n in (self.pointer.live, self.serving) if n is not None]
        wanted = self.wanted()
        is_replaced = self.serving in wanted and self.pointer.live in wanted and self.serving != self.pointer.live
        for number in wanted:
            version = self._version(number)
            size = version.estimated_bytes
            if is_replaced and number == self.pointer.live and self.serving is not None:
                size = max(0, size - self._version(self.serving).estimated_bytes)
            rank = Rank.ANSWERS if number in answering else Rank.BESIDE if number in self._beside() else Rank.BEFORE
            on = tuple(engine.device.name for engine in version.engines if engine.retired is None)
            stays = is_replaced and rank == Rank.ANSWERS
            found.append(Demand(self.home.name, number, rank, size, replicas, asked_at, on, stays=stays))
        return found

    def settle(self, placed: dict[Key, tuple[Device, ...]]) -> None:
        """Take up where its versions are to have engines."""
        self._placed = {number: placed.get((self.home.name, number), ()) for number in self.wanted()}
        for number, devices in self._placed.items():
            version = self._version(number)
            version.is_idle = not devices
            version.is_waking = version.is_idle or version.is_waking
            is_whole = version.arrival is not None and not version.arrival.num_missing
            if (
                version.is_idle
                and is_whole
                and version.is_sound
                and number == self.pointer.live
                and self.serving is None
            ):
                self.serving = number  # whoever asks it has it loaded

    def to_retire(self) -> list[EngineProcess]:
        """Engines of versions that are not wanted any more, or on devices where they have no place."""
        running = [(n, engine) for n, version in self.versions.items() for engine in version.engines]
        return [
            engine
            for number, engine in running
            if engine.retired is None and engine.device not in self._placed.get(number, ())
        ]

    def to_start(self) -> list[tuple[int, Device]]:
        """At most one engine: of the version that answers at once, of another if there is room and none loads."""
        now = time.monotonic()
        missing = [
            (number, device)
            for number, devices in self._placed.items()
            for device in devices
            if self._version(number).may_start_on(device.name, now)
        ]
        urgent = [each for each in missing if each[0] == self.serving and not self._version(each[0]).engines]
        if urgent:
            return urgent[:1]
        running = [version for version in self.versions.values() if version.engines]
        loading = any(engine.ready is None for version in running for engine in version.engines)
        most = MAX_VERSIONS + len(set(self._beside()) - set(self._pointed()[:MAX_VERSIONS]))
        if loading:
            return []
        return [each for each in missing if self._version(each[0]).engines or len(running) < most][:1]

    def follow_pointer(self) -> None:
        """Have the version that the live pointer names answer, as soon as its engines are ready.

        It has to have as many as the version that it replaces, or as there is room for.
        """
        if self.is_out:
            self.serving = None
            return
        number = self.pointer.live
        version = self.versions.get(number) if number is not None else None
        if number is None or version is None or version.manifest is None or self.serving == number:
            return
        ready = [engine for engine in version.ready if engine.retired is None]
        replaced = self.versions.get(self.serving) if self.serving is not None else None
        now = time.monotonic()
        able = [device for device in self._placed.get(number, ()) if not version.fails_on(device.name, now)]
        wanted = min(len(able), len(replaced.ready) if replaced else 1)
        if ready and len(ready) >= wanted:
            log.info("%s: version %d is live, after %s", self.home.name, number, self.serving)
            self.serving = number

    def note_end(self, number: int, engine: EngineProcess, status: int) -> None:
        """An engine has ended with this exit status."""
        version = self.versions[number]
        version.note_end(engine, status)
        if number not in self.wanted() and version.rejected is None and not version.engines:
            del self.versions[number]

    @property
    def is_out(self) -> bool:
        """It is to have no engines: it was unloaded, or removed."""
        return self.pointer.unloaded or self.is_removed

    @property
    def has_ended(self) -> bool:
        """It was removed, and nothing of it is running any more."""
        return self.is_removed and not any(version.engines for version in self.versions.values())

    @property
    def answers(self) -> bool:
        """The version that answers has an engine that is up."""
        version = self.versions.get(self.serving) if self.serving is not None else None
        return version is not None and version.answers

    def is_hopeless(self) -> bool:
        """The version that answers cannot be kept alive."""
        return self.serving is not None and self.versions[self.serving].is_parked

    def may_answer(self) -> bool:
        """It answers, or a version of it may load yet."""
        return not self.is_hopeless() and bool(self.wanted())

    def route(self) -> ModelRoute:
        """What the HTTP workers are told of it."""
        parts: dict[Label, int | None] = {
            "live": self.serving,
            "previous": self.pointer.previous,
            "canary": self.pointer.canary,
            "shadow": self.pointer.shadow,
        }
        return ModelRoute(
            self.serving,
            {number: self.versions[number].route() for number in sorted(self.versions)},
            {label: number for label, number in parts.items() if number in self.versions},
            self.pointer.canary_fraction,
            self.is_out,
            self.number,
        )

    def _is_sound(self, number: int) -> bool:
        return number not in self.versions or self.versions[number].is_sound

    def _beside(self) -> list[int]:
        """Canary and shadow, where there are such."""
        beside = (self.pointer.canary, self.pointer.shadow)
        return [] if self.is_out else [number for number in beside if number is not None]

    def _pointed(self) -> list[int]:
        """The versions that answer, will answer or did before, the most urgent first."""
        if self.is_out:
            return []
        pointed = [self.pointer.live, self.serving]
        if self.pointer.live == self.serving:
            pointed.append(self.pointer.previous)  # nothing is being replaced, so there is room for it
        return [number for number in dict.fromkeys(pointed) if number is not None]

    def _version(self, number: int) -> Version:
        """What is known of it, from now on."""
        return self.versions.setdefault(number, Version(f"{self.home.name} version {number}"))


def none_can_answer(models: Collection[Model]) -> bool:
    """Whether the service has nothing left to do: a model cannot be kept alive, and no other answers or may load."""
    return any(model.is_hopeless() for model in models) and not any(model.may_answer() for model in models)
