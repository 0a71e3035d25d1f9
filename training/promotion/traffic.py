"""Reads the request counters of a running service by version, and how they change between two readings."""

import http.client
import json
import os
import time
import urllib.request
from collections import defaultdict
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from models.errors import Failed

POLL_S = 0.5
PATIENCE_S = 60.0  # with a service that does not answer: it may be starting again
ANSWER_TIMEOUT_S = 10
KEY = "STRIATE_SERVICE_KEY"


class Unreachable(Failed):
    """The service that was to be watched does not answer."""


class Traffic(NamedTuple):
    """The requests to one version since some moment."""

    answered: float = 0.0  # requests answered successfully
    faults: float = 0.0  # requests that failed through no error of the client; for a shadow, failed images
    seconds: float = 0.0  # total time of the answered requests, from request head to response
    images: float = 0.0  # images, confidence: number of images, and the sum of their confidences
    confidence: float = 0.0
    agreed: float = 0.0  # agreed, differed: images on which a shadow and the live version agreed or differed
    differed: float = 0.0

    @property
    def asked(self) -> float:
        return self.answered + self.faults + self.agreed + self.differed

    def plus(self, other: "Traffic") -> "Traffic":
        return Traffic(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))

    def since(self, before: "Traffic") -> "Traffic":
        """What came between; all of it, where the service was restarted and counts from 0 again."""
        if any(now < then for now, then in zip(self, before, strict=True)):
            return self
        return Traffic(*(now - then for now, then in zip(self, before, strict=True)))


class Watch:
    """One service, asked over HTTP."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model

    def about(self) -> dict[str, Any]:
        """What GET /models/<name> says: versions, their states, drift.

        Raises:
            Unreachable: it does not answer for a minute, or wants another key.
        """
        described: dict[str, Any] = json.loads(self._fetch(f"/models/{self._model}"))
        return described

    def traffic(self) -> dict[int, Traffic]:
        """By version, since the service started.

        Raises:
            Unreachable: as above.
        """
        sums: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for family in text_string_to_metric_families(self._fetch("/metrics").decode()):
            for sample in family.samples:
                field = FIELDS.get((sample.name, sample.labels.get("outcome")))
                if field and sample.labels.get("model") == self._model:
                    sums[int(sample.labels["version"])][field] += sample.value
        return {version: Traffic(**found) for version, found in sums.items()}

    def _fetch(self, path: str) -> bytes:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._fetch_once(path)
            except (OSError, ValueError, http.client.HTTPException) as error:
                if time.monotonic() > deadline or isinstance(error, ValueError):
                    raise Unreachable(
                        f"{self._url}{path} does not answer ({error}); is it the service's URL?"
                    ) from None
                time.sleep(POLL_S)

    def _fetch_once(self, path: str) -> bytes:
        key = os.environ.get(KEY)
        request = urllib.request.Request(self._url + path, headers={"Authorization": f"Bearer {key}"} if key else {})
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
            answer: bytes = response.read()
            return answer


FIELDS: dict[tuple[str, str | None], str] = {
    ("striate_model_request_seconds_count", "success"): "answered",
    ("striate_model_request_seconds_sum", "success"): "seconds",
    ("striate_model_faults_total", None): "faults",
    ("striate_confidence_count", None): "images",
    ("striate_confidence_sum", None): "confidence",
    ("striate_shadow_images_total", "agrees"): "agreed",
    ("striate_shadow_images_total", "differs"): "differed",
    ("striate_shadow_images_total", "failed"): "faults",
}


def change(now: dict[int, Traffic], last: dict[int, Traffic], version: int | None) -> Traffic:
    """The traffic of one version between two readings."""
    if version is None:
        return Traffic()
    return now.get(version, Traffic()).since(last.get(version, Traffic()))
