"""A new version meets real traffic step by step, watched, and goes back by itself where it is worse.

shadow (it is asked, and nobody sees its answers) -> canary (a fraction of the requests) -> live (all), each for as long
as the job says. Each step is one change of the live pointer, and can be begun again: a job that was killed does so.
"""

import json
import os
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from models.exports import read_live, roll_back, set_canary, set_live, set_shadow
from training.significance import more_often

POLL_S = 0.5
LOAD_TIMEOUT_S = 900.0
SIGNIFICANT = 0.01
KEY = "STRIATE_SERVICE_KEY"
ANSWER_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Rollout:
    """The table `[rollout]` of a job; without it a version that is promoted answers everybody at once.

    Attributes:
        shadow_s, canary_s, watch_s: how long it is watched as shadow, as canary, and after it has gone live; 0 leaves
            a step out.
        canary_fraction: of the requests.
        min_requests: of a step below which nothing can be said; it then lasts until they have come, at most four times
            as long.
        max_latency_ratio: of the mean time of a request, to that of the version it is to replace.
        max_confidence_loss: of the mean confidence, to that version's.
        min_agreement: of the shadow's answers with the live version's; 0 is any.
    """

    shadow_s: float = 0.0
    canary_s: float = 0.0
    watch_s: float = 0.0
    canary_fraction: float = 0.1
    min_requests: int = 100
    max_latency_ratio: float = 2.0
    max_confidence_loss: float = 0.15
    min_agreement: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.canary_fraction <= 1:
            raise ValueError(f"canary_fraction is a fraction above 0 and up to 1, not {self.canary_fraction:g}.")
        wrong = [name for name in self.__slots__ if getattr(self, name) < 0]
        if wrong:
            raise ValueError(f"{wrong[0]} is {getattr(self, wrong[0]):g}; it has to be 0 or more.")

    @property
    def is_watched(self) -> bool:
        return bool(self.shadow_s or self.canary_s or self.watch_s)


class Unreachable(RuntimeError):
    """The service that was to be watched does not answer."""


class Traffic(NamedTuple):
    """What one version was asked, counted from some beginning.

    Attributes:
        failed: requests answered by an error; of a shadow, images.
        seconds: all requests took, from their heads to their answers; of a shadow nothing.
        confidence: sum over `images`.
        agreed: images on which a shadow agreed.
    """

    requests: float = 0.0
    failed: float = 0.0
    seconds: float = 0.0
    images: float = 0.0
    confidence: float = 0.0
    agreed: float = 0.0

    def since(self, before: "Traffic") -> "Traffic":
        """Never negative: a service that was restarted counts from 0 again."""
        return Traffic(*(max(0.0, now - then) for now, then in zip(self, before, strict=True)))


class Watch:
    """One service, asked over HTTP."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model

    def fetch(self, path: str) -> bytes:
        """
        Raises:
            Unreachable: it does not answer, or wants another key.
        """
        key = os.environ.get(KEY)
        request = urllib.request.Request(self._url + path, headers={"Authorization": f"Bearer {key}"} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
                answer: bytes = response.read()
                return answer
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self._url}{path} does not answer ({error}); is it the service's URL?") from None

    def about(self) -> dict[str, Any]:
        """What GET /models/<name> says: versions, their states, drift."""
        described: dict[str, Any] = json.loads(self.fetch(f"/models/{self._model}"))
        return described

    def traffic(self) -> dict[int, Traffic]:
        """By version, since the service started."""
        sums: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for family in text_string_to_metric_families(self.fetch("/metrics").decode()):
            for sample in family.samples:
                if sample.labels.get("model") == self._model and "version" in sample.labels:
                    for field in FIELDS.get((sample.name, sample.labels.get("outcome")), ()):
                        sums[int(sample.labels["version"])][field] += sample.value
        return {version: Traffic(**found) for version, found in sums.items()}


FIELDS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("striate_model_request_seconds_count", "success"): ("requests",),
    ("striate_model_request_seconds_count", "failure"): ("requests", "failed"),
    ("striate_model_request_seconds_sum", "success"): ("seconds",),
    ("striate_confidence_sum", None): ("confidence",),
    ("striate_confidence_count", None): ("images",),
    ("striate_shadow_images_total", "agrees"): ("requests", "agreed"),
    ("striate_shadow_images_total", "differs"): ("requests",),
    ("striate_shadow_images_total", "failed"): ("requests", "failed"),
}


def roll_out(
    exports: Path,
    model: str,
    version: int,
    rollout: Rollout,
    service: str,
    *,
    on_step: Callable[[str], None] = lambda step: None,
) -> str:
    """Make a published version live as the job says; returns why it was taken back, or "" where it stays.

    Raises:
        Unreachable: there is nothing to watch it by; it is not live then.
    """
    home = exports / model
    champion = read_live(home).live
    if champion == version:  # a job that was killed while it watched
        champion = read_live(home).previous
    if champion is None or not rollout.is_watched:
        set_live(exports, model, version)
        return ""
    watch = Watch(service, model)
    try:
        fault = before_live(exports, model, version, champion, rollout, watch, on_step)
    except Unreachable:
        leave(exports, model, version)
        raise
    if fault:
        leave(exports, model, version)
        return fault
    return go_live(exports, model, version, champion, rollout, watch, on_step)


def before_live(
    exports: Path,
    model: str,
    version: int,
    champion: int,
    rollout: Rollout,
    watch: Watch,
    on_step: Callable[[str], None],
) -> str:
    if read_live(exports / model).live == version:
        return ""
    if rollout.shadow_s:
        set_shadow(exports, model, version)
        fault = observe(watch, version, champion, rollout.shadow_s, rollout)
        set_shadow(exports, model, None)
        on_step("shadowed")
        if fault:
            return f"as shadow {fault}"
    if rollout.canary_s:
        set_canary(exports, model, version, rollout.canary_fraction)
        fault = observe(watch, version, champion, rollout.canary_s, rollout)
        on_step("baked")
        if fault:
            return f"as canary {fault}"
    return ""


def go_live(
    exports: Path,
    model: str,
    version: int,
    champion: int,
    rollout: Rollout,
    watch: Watch,
    on_step: Callable[[str], None],
) -> str:
    """Live, and watched against what the champion did until then."""
    before = watch.traffic().get(champion, Traffic())
    if read_live(exports / model).live != version:
        set_live(exports, model, version)
    on_step("live")
    if not rollout.watch_s:
        return ""
    try:
        fault = observe(watch, version, champion, rollout.watch_s, rollout, champion_before=before)
    except Unreachable as error:
        fault = str(error)
    if fault and read_live(exports / model).live == version:  # nobody else has changed it meanwhile
        roll_back(exports, model)
        return f"live {fault}"
    return ""


def leave(exports: Path, model: str, version: int) -> None:
    """It has no part any more."""
    pointer = read_live(exports / model)
    if pointer.shadow == version:
        set_shadow(exports, model, None)
    if pointer.canary == version:
        set_canary(exports, model, None, 0)


def observe(
    watch: Watch,
    version: int,
    champion: int,
    seconds: float,
    rollout: Rollout,
    *,
    champion_before: Traffic | None = None,
) -> str:
    """Look on for so long, from when its engine is up; returns what is worse about it as soon as that is significant.

    Args:
        champion_before: what the champion did before, where it is asked no more.
    """
    fault = wait_until_loaded(watch, version)
    if fault:
        return fault
    began, start = time.monotonic(), watch.traffic()
    while True:
        time.sleep(min(POLL_S, seconds))
        now = watch.traffic()
        ours = now.get(version, Traffic()).since(start.get(version, Traffic()))
        theirs = champion_before or now.get(champion, Traffic()).since(start.get(champion, Traffic()))
        fault = what_is_worse(ours, theirs, rollout, side_by_side=champion_before is None)
        took = time.monotonic() - began
        if fault or took >= 4 * seconds or (took >= seconds and ours.requests >= rollout.min_requests):
            return fault


def wait_until_loaded(watch: Watch, version: int) -> str:
    """Why its engine does not answer; "" once it does."""
    deadline = time.monotonic() + LOAD_TIMEOUT_S
    while time.monotonic() < deadline:
        found = [row for row in watch.about()["versions"] if row["version"] == version]
        if found and found[0]["state"] == "available":
            return ""
        if found and found[0]["state"] == "rejected":
            return f"it is refused by the service: {found[0]['reason']}"
        time.sleep(POLL_S)
    return f"it did not load within {LOAD_TIMEOUT_S:g} s"


def what_is_worse(ours: Traffic, theirs: Traffic, rollout: Rollout, *, side_by_side: bool) -> str:
    """Errors as soon as they are significant; the rest once there were requests enough.

    Args:
        side_by_side: both were asked at the same time. If not, twice the ratio of latencies is borne: the machine may
            have had more to do since.
    """
    events = [(round(traffic.failed), max(round(traffic.requests), 1)) for traffic in (ours, theirs)]
    if ours.failed and more_often(events[0], events[1]) < SIGNIFICANT:
        failed = f"it failed {ours.failed:g} of {ours.requests:g} requests"
        return f"{failed}, the version before {theirs.failed:g} of {theirs.requests:g}"
    if ours.requests < rollout.min_requests:
        return ""
    if rollout.min_agreement and ours.agreed and ours.agreed / ours.requests < rollout.min_agreement:
        return f"it agreed on {ours.agreed / ours.requests:.1%} of {ours.requests:g} images"
    if ours.seconds and theirs.seconds and theirs.requests >= rollout.min_requests:
        ratio = (ours.seconds / ours.requests) / (theirs.seconds / theirs.requests)
        if ratio > rollout.max_latency_ratio * (1 if side_by_side else 2):
            return f"a request took {ratio:.2g} times as long"
    if ours.images and theirs.images:
        loss = theirs.confidence / theirs.images - ours.confidence / ours.images
        if loss > rollout.max_confidence_loss:
            return f"its mean confidence is lower by {loss:.2f}"
    return ""
