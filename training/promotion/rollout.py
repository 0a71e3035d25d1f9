"""A staged rollout: a new version gets real traffic step by step, and is rolled back automatically if it is worse.

shadow (it is asked, and nobody sees its answers) -> canary (a fraction of the requests) -> live (all), each for as long
as the job says. Each step is one change of the live pointer, which a job repeats after a kill. Changes that somebody
else makes to the pointer meanwhile are kept.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from models.store.live import LiveVersionChanged, read_live, roll_back, set_canary, set_live, set_shadow
from models.store.mirror import refresh
from training.evaluate.significance import binomial_p_value, fisher_p_value
from training.promotion.gate import NotNegative
from training.promotion.traffic import POLL_S, Traffic, Watch, change

LOAD_TIMEOUT_S = 900.0
LONGEST = 4  # times as long as the job says, where requests are few
SIGNIFICANT = 0.001  # p-value; a step tests so often that some p-value is nearly always below 0.05 by chance
USUAL_FAULTS = 0.01  # of the requests, where there is nothing to compare with


@dataclass(frozen=True, slots=True)
class Rollout:
    """The table `[rollout]` of a job; without it a version that is promoted answers everybody at once.

    Attributes:
        shadow_s, canary_s, watch_s: how long it is watched as shadow, as canary, and after it has gone live; 0 leaves
            a step out.
        canary_fraction: the canary's share of the requests.
        min_requests: requests needed to judge latency, confidence and agreement; a step waits for them up to four times
            its duration.
        max_latency_ratio: largest ratio of the mean request time to that of the replaced version; doubled once the
            version is live, since the two are then not measured at the same time.
        max_confidence_loss: largest drop of the mean confidence below the replaced version's.
        min_agreement: smallest share of images on which shadow and live version agree; 0: no limit.
    """

    shadow_s: NotNegative = 0.0
    canary_s: NotNegative = 0.0
    watch_s: NotNegative = 0.0
    canary_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.1
    min_requests: Annotated[int, Meta(ge=0)] = 100
    max_latency_ratio: NotNegative = 2.0
    max_confidence_loss: NotNegative = 0.15
    min_agreement: NotNegative = 0.0

    @property
    def is_watched(self) -> bool:
        return bool(self.shadow_s or self.canary_s or self.watch_s)


def roll_out(
    exports: Path,
    model: str,
    version: int,
    champion: int | None,
    rollout: Rollout,
    service: str,
    *,
    on_step: Callable[[str], None] = lambda step: None,
    on_fault: Callable[[str], None] = lambda fault: None,
    on_note: Callable[[str], None] = lambda line: None,
) -> str:
    """Make a published version live as the job says; returns why it was taken back, or "" where it stays.

    Args:
        champion: the version that it is to replace.
        on_fault: called with the reason before anything is taken back.
        on_note: called with what was seen in each step.

    Raises:
        LiveVersionChanged: somebody else has made another version live, which stays.
        Unreachable: there is nothing to watch it by; the champion is live then, and the roll-out can be begun again.
    """
    roll = RolloutRunner(exports, model, version, champion, rollout, Watch(service, model), on_note)
    try:
        fault = roll.begin(on_step)
    except Exception:  # whatever it is, nobody watches any more
        take_back(exports, model, version)
        raise
    if fault:
        on_fault(fault)
        take_back(exports, model, version)
    return fault


def take_back(exports: Path, model: str, version: int) -> None:
    """Remove a version from every part it has; other versions keep the parts that somebody else has given them."""
    refresh(exports / model)
    pointer = read_live(exports / model)
    if pointer.shadow == version:
        set_shadow(exports, model, None)
    if pointer.canary == version:
        set_canary(exports, model, None, 0)
    if pointer.live == version and pointer.previous is not None:
        roll_back(exports, model, instead_of=version)


@dataclass(frozen=True, slots=True)
class RolloutRunner:
    """One version's way to the live pointer."""

    _exports: Path
    _model: str
    _version: int
    _champion: int | None
    _rollout: Rollout
    _watch: Watch
    _on_note: Callable[[str], None]

    def begin(self, on_step: Callable[[str], None]) -> str:
        rollout, version = self._rollout, self._version
        is_live = self._pointer().live == version  # a job was killed while it watched
        if self._champion is None or not rollout.is_watched:
            if not is_live:
                self._go_live()
            return ""
        if not is_live:
            fault = self._shadow(on_step) or self._canary(on_step)
            if fault:
                return fault
        before = self._watch.traffic().get(self._champion, Traffic())
        if not is_live:
            self._go_live()
        on_step("live")
        return f"live {fault}" if (fault := self._observe(rollout.watch_s, "live", before)) else ""

    def _shadow(self, on_step: Callable[[str], None]) -> str:
        if not self._rollout.shadow_s:
            return ""
        set_shadow(self._exports, self._model, self._version)
        fault = self._observe(self._rollout.shadow_s, "shadow")
        if self._pointer().shadow == self._version:
            set_shadow(self._exports, self._model, None)
        on_step("shadowed")
        return f"as shadow {fault}" if fault else ""

    def _canary(self, on_step: Callable[[str], None]) -> str:
        if not self._rollout.canary_s:
            return ""
        set_canary(self._exports, self._model, self._version, self._rollout.canary_fraction)
        fault = self._observe(self._rollout.canary_s, "canary")
        on_step("baked")
        return f"as canary {fault}" if fault else ""

    def _go_live(self) -> None:
        set_live(self._exports, self._model, self._version, instead_of=self._champion)

    def _observe(self, seconds: float, part: str, champion_before: Traffic | None = None) -> str:
        """Watch the version for some seconds once its engine is loaded; returns a regression as soon as one is found,
        else "".

        Args:
            champion_before: what the champion did before, where it is asked no more.

        Raises:
            LiveVersionChanged: the version has not this part any more, or another is live.
        """
        if not seconds:
            return ""
        fault = self._wait_until_loaded(part)
        if fault:
            return fault
        began, last = time.monotonic(), self._watch.traffic()
        ours, theirs = Traffic(), champion_before or Traffic()
        while True:
            time.sleep(min(POLL_S, seconds))
            self._check_part(part)
            now = self._watch.traffic()
            ours = ours.plus(change(now, last, self._version))
            if champion_before is None:
                theirs = theirs.plus(change(now, last, self._champion))
            last = now
            fault = find_regression(ours, theirs, self._rollout, side_by_side=champion_before is None)
            took = time.monotonic() - began
            if fault or took >= LONGEST * seconds or (took >= seconds and ours.asked >= self._rollout.min_requests):
                self._on_note(f"{part}: {took:.0f} s, asked {ours.asked:g} times, {ours.faults:g} failed")
                return fault

    def _wait_until_loaded(self, part: str) -> str:
        """Why its engine does not answer; "" once it does."""
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while time.monotonic() < deadline:
            self._check_part(part)
            found = [row for row in self._watch.about()["versions"] if row["version"] == self._version]
            if found and found[0]["state"] == "available":
                return ""
            if found and found[0]["state"] == "rejected":
                return f"it is refused by the service: {found[0]['reason']}"
            time.sleep(POLL_S)
        return f"it did not load within {LOAD_TIMEOUT_S:g} s"

    def _check_part(self, part: str) -> None:
        pointer = self._pointer()
        if getattr(pointer, part) != self._version or (part != "live" and pointer.live != self._champion):
            raise LiveVersionChanged(f"Somebody else has changed which versions of {self._model} answer.")

    def _pointer(self) -> Any:
        refresh(self._exports / self._model)
        return read_live(self._exports / self._model)


def find_regression(ours: Traffic, theirs: Traffic, rollout: Rollout, *, side_by_side: bool) -> str:
    """Faults as soon as they are significant; the rest once there were requests enough.

    Args:
        side_by_side: both were asked at the same time. If not, twice the ratio of latencies is borne: the machine may
            have had more to do since.
    """
    events = (round(ours.faults), round(ours.asked))
    if theirs.asked >= rollout.min_requests:
        p_value = fisher_p_value(events, (round(theirs.faults), round(theirs.asked)))
    else:
        p_value = binomial_p_value(*events, USUAL_FAULTS, "greater")
    if ours.faults and p_value < SIGNIFICANT:
        failed = f"it failed {ours.faults:g} of {ours.asked:g} requests"
        return f"{failed}, the version before {theirs.faults:g} of {theirs.asked:g}"
    if ours.asked < rollout.min_requests:
        return ""
    compared = ours.agreed + ours.differed
    if compared and ours.agreed / compared < rollout.min_agreement:
        return f"it agreed on {ours.agreed / compared:.1%} of {compared:g} images"
    if ours.answered and theirs.answered >= rollout.min_requests:
        ratio = (ours.seconds / ours.answered) / (theirs.seconds / theirs.answered)
        if ratio > rollout.max_latency_ratio * (1 if side_by_side else 2):
            return f"a request took {ratio:.2g} times as long"
    if ours.images and theirs.images:
        loss = theirs.confidence / theirs.images - ours.confidence / ours.images
        if loss > rollout.max_confidence_loss:
            return f"its mean confidence is lower by {loss:.2f}"
    return ""
