"""What a job came to, as a file for the textfile collector of Prometheus's node exporter."""

import contextlib
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from training.retrain.job import Job
from training.retrain.pipeline import EXIT_CODES
from training.retrain.result import Result

OUTCOMES = (*EXIT_CODES, "failed")


@contextlib.contextmanager
def write_textfile(job: Job) -> Iterator[Callable[[Result], None]]:
    """Call what this yields with the result; without one, the job has failed. Written by rename, whatever happens."""
    began, results = time.time(), list[Result]()
    try:
        yield results.append
    finally:
        if job.textfile is not None:
            job.textfile.parent.mkdir(parents=True, exist_ok=True)
            write_to_textfile(str(job.textfile), collect(job, results[-1] if results else None, began))


def collect(job: Job, result: Result | None, began: float) -> CollectorRegistry:
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, value: float, **labels: str) -> None:
        found = gauges.get(name) or Gauge(name, meaning, ["model", *labels], registry=registry)
        gauges[name] = found
        found.labels(job.model, *labels.values()).set(value)

    gauges: dict[str, Gauge] = {}
    outcome = result.outcome if result else "failed"
    gauge("striate_retrain_finished_seconds", "Unix time at which the last job ended", time.time())
    gauge("striate_retrain_duration_seconds", "Duration of the last job", time.time() - began)
    for each in OUTCOMES:
        gauge(
            "striate_retrain_outcome",
            "1 for the outcome of the last job, 0 for others",
            float(each == outcome),
            outcome=each,
        )
    if result is None:
        return registry
    gauge("striate_retrain_new_images", "Images that the live version was not trained on", result.new_images)
    gauge("striate_retrain_set_aside_images", "New images that the last job set aside for comparison", result.set_aside)
    if result.version is not None:
        gauge("striate_retrain_version", "Version that the last job published", result.version)
    for finding in result.findings:
        if finding.rule in ("not worse", "newest not worse"):
            difference = finding.figures["difference"]
            gauge(
                "striate_retrain_accuracy_difference",
                "Accuracy of the challenger minus that of the champion",
                difference,
                rule=finding.rule,
            )
    return registry
