"""One version of a model: its engine, and the rules that say when the next is started after one has failed.

A version whose bundle is broken is rejected until its files change or it is promoted again. A version whose engine
dies is started again, at once at first and then after growing pauses; after MAX_CRASHES in a row it is parked.
"""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from models.bundle.manifest import Manifest
from models.insight.layers import LAYERS
from models.insight.thumbnails import THUMBNAILS
from service.ipc.routes import State, VersionRoute
from service.supervisor.arrival import Arrival
from service.supervisor.processes import EngineProcess

log = logging.getLogger(__name__)

MAX_LOAD_CRASHES = 3  # in a row; then a version that has never loaded is rejected, and tried again after PARKED_S
STABLE_S = 2.0  # after an engine has answered for so long, its crash counts as the first
FREE_RESTARTS = 2  # crashes after which the next engine starts at once: clients notice only longer pauses
LONGEST_BACKOFF_S = 30.0
MAX_CRASHES = 10  # in a row; then the version is parked: no request waits for it, and it is tried after PARKED_S
PARKED_S = 60.0  # doubled after each further crash
LONGEST_PARKED_S = 600.0
SOON = 4  # failures of an engine beside others, before the pause is PARKED_S; it is half as long before each
ENGINE_BYTES, BYTES_PER_BYTE = 60_000_000, 3.0  # an estimate of an engine's memory: of any, and for each byte of files


@dataclass(slots=True)
class Version:
    label: str  # how the log names it
    engines: list[EngineProcess] = field(default_factory=list)
    manifest: Manifest | None = None  # as its engine has loaded it; kept when the engine ends or the bundle is deleted
    precision: str = ""
    precision_reason: str = ""  # why in this one
    verdict: dict[str, Any] | None = None  # what its last engine has found out, for the next (service.engine.loading)
    judging_s: float = 0.0  # that it took to find out the verdict in a process of its own
    lacks_idle_time: bool = False  # such a process got too little processor time
    load_s: float = 0.0  # that it took to load, with that
    crashes: int = 0  # in a row, since an engine last answered for STABLE_S
    restarts: int = 0  # engines that died after they had answered
    not_before: float = 0.0  # time of the next try, in seconds of CLOCK_MONOTONIC
    rejected: str | None = None  # why it is not served
    rejections: int = 0  # since it was promoted last
    # the rejection may not be the bundle's fault, so it is tried again though no file changes
    is_temporary: bool = False
    arrival: Arrival | None = None  # its files at the last look; they are not looked at while it has an engine
    is_changing: bool = False  # its files changed between the last two looks
    memory_bytes: int = 0  # that its largest engine takes; 0 before one has loaded
    is_idle: bool = False  # there is no room for it, or nobody asks it, and so it is to have no engine
    is_waking: bool = False  # it was idle, and no engine has loaded since
    # devices on which its engine has failed while others answered: how often in a row, and when it is tried again
    failing_on: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def waiting(self) -> str | None:
        """Which files it waits for; None where it waits for none, or has loaded before."""
        return self.arrival.reason if self.arrival and self.manifest is None and not self.engines else None

    @property
    def is_sound(self) -> bool:
        return self.rejected is None and self.waiting is None

    @property
    def is_parked(self) -> bool:
        return self.crashes >= MAX_CRASHES

    @property
    def ready(self) -> list[EngineProcess]:
        """Its engines that have loaded, those that were asked to stop as well."""
        return [engine for engine in self.engines if engine.ready is not None]

    @property
    def answering(self) -> list[EngineProcess]:
        """The engines that images are sent to; of a version that is to end without a successor, those that end."""
        staying = [engine for engine in self.ready if engine.retired is None]
        return staying or ([] if self.is_idle or self.is_waking else self.ready)

    @property
    def answers(self) -> bool:
        return bool(self.ready)

    @property
    def estimated_bytes(self) -> int:
        """What one engine takes, as measured, or by the size of the files."""
        size = self.arrival.num_bytes if self.arrival is not None else 0
        return self.memory_bytes or ENGINE_BYTES + int(BYTES_PER_BYTE * size)

    @property
    def described(self) -> Manifest | None:
        """Its manifest as an engine has loaded it; of an idle version that none has loaded, as it was read."""
        if self.manifest is None and (self.is_idle or self.is_waking) and self.arrival is not None:
            return self.arrival.described
        return self.manifest

    @property
    def can_be_asked(self) -> bool:
        """It is idle, and its files are there, though nothing has loaded them yet."""
        return self.is_idle and self.is_sound and self.arrival is not None and not self.arrival.num_missing

    def has_engine_on(self, device: str) -> bool:
        return any(engine.device.name == device and engine.retired is None for engine in self.engines)

    def may_start_on(self, device: str, now: float) -> bool:
        return self.may_start(now) and not self.has_engine_on(device) and not self.fails_on(device, now)

    def fails_on(self, device: str, now: float) -> bool:
        """Its last engine there has failed, and the next is not due yet."""
        return self.failing_on.get(device, (0, 0.0))[1] > now

    def may_start(self, now: float) -> bool:
        return self.not_before <= now and not self.is_changing

    def note_arrival(self, arrival: Arrival, *, promoted: bool) -> None:
        """Try a rejected version again when its files have changed and changes have ended, or when it is promoted.

        A slow copy changes the files again and again, so each rejection is followed by a longer pause.
        """
        before, self.arrival = self.arrival, arrival
        was_changing = self.is_changing
        self.is_changing = before is not None and before.stamps != arrival.stamps
        if promoted:
            self.not_before, self.rejections, self.is_changing = 0.0, 0, False
        if self.is_temporary and self.not_before <= time.monotonic():
            self.rejected = None  # its crashes stay counted
        if promoted or (was_changing and not self.is_changing) or self.waiting:
            self.rejected, self.crashes, self.is_temporary = None, 0, False
        if arrival.num_missing and (before is None or not before.num_missing):
            log.warning("%s is %s", self.label, arrival.reason)

    def note_ready(self, engine: EngineProcess) -> None:
        """One of its engines has loaded."""
        assert engine.ready is not None
        self.manifest, self.precision, self.rejections = engine.ready["manifest"], engine.ready["precision"], 0
        self.precision_reason = engine.ready["reason"]
        self.verdict = engine.ready["verdict"]
        self.load_s = round(time.monotonic() - engine.started + self.judging_s, 3)
        self.judging_s, self.lacks_idle_time, self.is_waking = 0.0, False, False
        said = ", ".join(f"{name} {engine.ready[name]}" for name in ("precision", "threads"))
        where = f" on {engine.device.name}" if len(self.engines) > 1 else ""
        log.info("%s: ready%s after %.1f s: %s (%s)", self.label, where, self.load_s, said, self.precision_reason)

    def note_end(self, engine: EngineProcess, status: int) -> None:
        """An engine has ended: it was retired, refused the bundle, or died."""
        self.engines.remove(engine)
        if engine.retired is not None:
            log.info("%s: engine %d retired", self.label, engine.pid)
            return
        if self.answers:
            self._pause_on(engine, status)
            return
        if engine.ready is None and engine.failure:
            self.reject(engine.failure)
            return
        if engine.verdict is not None:  # it was only to be judged; the next engine loads it
            self.verdict, self.judging_s = engine.verdict, time.monotonic() - engine.started
            return
        if engine.needs_idle_time and engine.stuck:
            self.lacks_idle_time = True
            return
        if engine.ready is None:
            self.verdict = None  # which may be why it did not load
        self._back_off(engine)
        self.restarts += engine.ready is not None
        log.error("%s: engine %d ended with status %d (crash %d)", self.label, engine.pid, status, self.crashes)
        if engine.ready is None and self.manifest is None and self.crashes >= MAX_LOAD_CRASHES:
            self.reject(f"its engine ended {self.crashes} times while loading")
            self.is_temporary = True
            self.not_before = time.monotonic() + parked_s(self.crashes - MAX_LOAD_CRASHES)

    def reject(self, reason: str) -> None:
        log.error("%s is rejected: %s", self.label, reason)
        self.rejected, self.verdict, self.is_waking = reason, None, False
        self.rejections, self.is_temporary = self.rejections + 1, False
        self.not_before = time.monotonic() + min(2.0 ** (self.rejections - 1), LONGEST_BACKOFF_S)

    def _pause_on(self, engine: EngineProcess, status: int) -> None:
        """One of several engines has ended: the others answer, and the version is sound."""
        stable = engine.answered_for_s() > STABLE_S and not engine.stuck
        times = 1 if stable else self.failing_on.get(engine.device.name, (0, 0.0))[0] + 1
        self.failing_on[engine.device.name] = times, time.monotonic() + (0.0 if stable else parked_s(times - SOON))
        self.restarts += engine.ready is not None
        why = engine.failure or f"ended with status {status}"
        log.error("%s: engine %d on %s: %s; others answer", self.label, engine.pid, engine.device.name, why)

    def _back_off(self, engine: EngineProcess) -> None:
        stable = engine.answered_for_s() > STABLE_S and not engine.stuck
        self.crashes = 1 if stable else self.crashes + 1
        pause = parked_s(self.crashes - MAX_CRASHES) if self.is_parked else backoff_s(self.crashes)
        self.not_before = time.monotonic() + pause
        if self.is_parked:
            log.error("%s: parked for %g s: %s", self.label, pause, self._parked_reason())

    def _parked_reason(self) -> str:
        return f"its engine ended {self.crashes} times in a row; it is tried again now and then"

    def route(self) -> VersionRoute:
        """What the HTTP workers are told of it."""
        manifest = self.described
        if manifest is None:
            return VersionRoute("rejected" if self.rejected else "loading", reason=self.rejected or self.waiting)
        is_asleep = self.is_idle or (self.is_waking and not self.crashes)
        waiting: State = "idle" if is_asleep else "restarting"
        state: State = "available" if self.answering else "rejected" if self.rejected else waiting
        reason = self.rejected
        if state == "restarting" and self.is_parked:
            state, reason = "parked", self._parked_reason()
        return VersionRoute(
            state,
            endpoints=tuple(engine.endpoint for engine in self.answering),
            leaving=tuple(engine.endpoint for engine in self.ready if engine not in self.answering),
            reason=reason,
            class_names=manifest.class_names,
            input_spec=manifest.input_spec,
            task=manifest.task,
            threshold=manifest.threshold,
            unusual_above=manifest.unusual_above,
            description={
                "architecture": manifest.architecture,
                "drawing": manifest.drawing,
                "shows_layers": LAYERS.as_posix() in manifest.files,
                "shows_training_images": THUMBNAILS.as_posix() in manifest.files,
                "precision": self.precision,
                "precision_reason": self.precision_reason,
                "load_seconds": self.load_s,
                "memory_bytes": self.memory_bytes,
                "devices": [engine.device.name for engine in self.answering],
                "accuracy": manifest.metrics.get("test", {}).get("accuracy"),
                "created_at": manifest.lineage.get("created_at"),
            },
            # drift is of the one class that an image has, and of how sure the model is of that
            reference=manifest.reference if manifest.task == "single_label" else None,
            restarts=self.restarts,
        )


def backoff_s(crashes: int) -> float:
    """The pause after so many crashes in a row."""
    late = crashes - FREE_RESTARTS
    return min(2.0 ** (late - 1), LONGEST_BACKOFF_S) if late > 0 else 0.0


def parked_s(further_crashes: int) -> float:
    """The pause after so many crashes since it was parked."""
    return float(min(PARKED_S * 2.0 ** min(further_crashes, 10), LONGEST_PARKED_S))
