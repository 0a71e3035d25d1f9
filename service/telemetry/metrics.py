"""What /metrics says, added up over HTTP workers and engines, which all write into one directory.

The directory is PROMETHEUS_MULTIPROC_DIR, which the supervisor sets before any of them starts. What those counted that
have ended is there, too (service.telemetry.remains).
"""

import fcntl
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from service.ipc.routes import Routes
from service.telemetry.remains import locked
from service.telemetry.request_record import Record

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1)
VERSION = ("model", "version")

REQUESTS = Counter("striate_requests", "HTTP requests", ["route", "status"])
LATENCY = Histogram("striate_request_seconds", "From a request's head to its answer", ["route"], buckets=SECONDS)
ERRORS = Counter("striate_errors", "Answers that say what was wrong, by their code", ["code"])
ASKED = Counter("striate_model_requests", "Requests by what answered them: success, failure", [*VERSION, "outcome"])
TOOK = Histogram(
    "striate_model_request_seconds", "From their heads to their answers", [*VERSION, "outcome"], buckets=SECONDS
)
FAULTS = Counter("striate_model_faults", "Requests that failed by no fault of the client's: 5xx but 503", VERSION)
ANSWERED = Counter("striate_images", "Images by what became of their request: success, failure", [*VERSION, "outcome"])
SHADOW = Counter(
    "striate_shadow_images", "Images that a shadow was asked: agrees, differs, failed, skipped", [*VERSION, "outcome"]
)
CONFIDENCE = Histogram("striate_confidence", "Of the most probable class, by image", VERSION, buckets=SHARES)
FAR = Histogram(
    "striate_out_of_distribution",
    "By image: the share of held-out images that are more usual",
    VERSION,
    buckets=(0.5, 0.9, 0.95, 0.99, 0.999, 1),
)
FEEDBACK = Counter("striate_feedback", "Labels by what became of them", ["model", "outcome"])
KEPT = Counter("striate_kept_images", "Images kept to be labelled: kept, dropped", ["model", "outcome"])
WAITING = Gauge(
    "striate_waiting_images", "Images with a place in the queue, just now", ["model"], multiprocess_mode="livesum"
)
LAST = Gauge("striate_last_inference_seconds", "When, since 1970", VERSION, multiprocess_mode="max")
DECODE = Histogram("striate_decode_seconds", "Decoding one image", VERSION, buckets=SECONDS)
QUEUE_WAIT = Histogram("striate_queue_wait_seconds", "One image's wait for its batch", VERSION, buckets=SECONDS)
BATCH_SIZE = Histogram("striate_batch_size", "Images in a batch", VERSION, buckets=IMAGES)
INFERENCE = Histogram("striate_inference_seconds", "Computing one batch", VERSION, buckets=SECONDS)

# As others call them, for their dashboards, where the meaning is the same: name, ours, labels of ours that it counts,
# what it multiplies by. Triton's: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md
TRITON: tuple[tuple[str, str, dict[str, str], float], ...] = (
    ("nv_inference_request_success", "striate_model_requests_total", {"outcome": "success"}, 1),
    ("nv_inference_request_failure", "striate_model_requests_total", {"outcome": "failure"}, 1),
    ("nv_inference_count", "striate_images_total", {"outcome": "success"}, 1),
    ("nv_inference_exec_count", "striate_batch_size_count", {}, 1),
    ("nv_inference_queue_duration_us", "striate_queue_wait_seconds_sum", {}, 1e6),
)
PENDING = "nv_inference_pending_request_count"
TENSORFLOW_SERVING = ":tensorflow:serving:request_count"
SERVING_STATUS = {"success": "OK", "failure": "ERROR"}

Drift = dict[tuple[str, int], dict[str, Any]]


def note_request(record: Record, route: str, status: int) -> None:
    REQUESTS.labels(route, status).inc()
    LATENCY.labels(route).observe(time.monotonic() - record.began)
    if record.error is not None:
        ERRORS.labels(record.error).inc()
    if record.model is not None:
        labels = (record.model, str(record.version), "success" if status < 400 else "failure")
        ASKED.labels(*labels).inc()
        TOOK.labels(*labels).observe(time.monotonic() - record.began)
        ANSWERED.labels(*labels).inc(record.num_images)
        if status >= 500 and status != 503:
            FAULTS.labels(record.model, str(record.version)).inc()


class EngineMetrics:
    """The series of one engine, looked up once."""

    def __init__(self, model: str, version: int) -> None:
        labels = (model, str(version))
        self._queue_wait = QUEUE_WAIT.labels(*labels)
        self._batch_size = BATCH_SIZE.labels(*labels)
        self._inference = INFERENCE.labels(*labels)
        self._last = LAST.labels(*labels)

    def observe_batch(self, num_images: int, seconds: float) -> None:
        self._batch_size.observe(num_images)
        self._inference.observe(seconds)
        self._last.set(time.time())

    def observe_wait(self, seconds: float) -> None:
        self._queue_wait.observe(seconds)


class RoutesCollector:
    """What the supervisor says, as gauges, and how far the latest images are from what each version was judged by."""

    def __init__(self, routes: Routes, drift: Drift) -> None:
        self._routes = routes
        self._drift = drift

    def collect(self) -> Iterator[GaugeMetricFamily]:
        live = GaugeMetricFamily("striate_live_version", "The version that answers", labels=["model"])
        fraction = GaugeMetricFamily("striate_canary_fraction", "Of the requests", labels=["model"])
        up = GaugeMetricFamily("striate_engine_up", "1 while its engine answers", labels=VERSION)
        restarts = GaugeMetricFamily("striate_engine_restarts", "Engines that died", labels=VERSION)
        load = GaugeMetricFamily("striate_engine_load_seconds", "From its start to its readiness", labels=VERSION)
        for name, model in self._routes.models.items():
            live.add_metric([name], model.live or 0)
            fraction.add_metric([name], model.canary_fraction)
            for number, version in model.versions.items():
                up.add_metric([name, str(number)], version.state == "available")
                restarts.add_metric([name, str(number)], version.restarts)
                load.add_metric([name, str(number)], version.description.get("load_seconds") or 0)
        psi = GaugeMetricFamily(
            "striate_drift_psi", "Population stability index of the latest images", labels=[*VERSION, "statistic"]
        )
        for (name, number), found in self._drift.items():
            for statistic, value in found["psi"].items():
                psi.add_metric([name, str(number), statistic], value)
        yield from (live, fraction, up, restarts, load, psi)


class AliasCollector:
    """Some of the above under the names that other servers gave them."""

    def __init__(self, source: MultiProcessCollector) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        samples = samples_of(self._source)
        for alias, name, wanted, factor in TRITON:
            found = Metric(alias, f"{name} as Triton calls it", "unknown")
            for labels, value in samples[name]:
                if wanted.items() <= labels.items():
                    found.add_sample(alias, {key: labels[key] for key in VERSION}, value * factor)
            yield found
        pending = Metric(PENDING, "striate_waiting_images as Triton calls it", "gauge")
        for labels, value in samples["striate_waiting_images"]:
            pending.add_sample(PENDING, labels, value)
        yield pending
        requests = Metric(TENSORFLOW_SERVING, "striate_model_requests_total as TensorFlow Serving calls it", "unknown")
        totals: dict[tuple[str, str], float] = defaultdict(float)
        for labels, value in samples["striate_model_requests_total"]:
            totals[labels["model"], SERVING_STATUS[labels["outcome"]]] += value
        for (model, status), value in totals.items():
            requests.add_sample(TENSORFLOW_SERVING, {"model_name": model, "status": status}, value)
        yield requests


def samples_of(source: MultiProcessCollector) -> dict[str, list[tuple[dict[str, str], float]]]:
    """{name of the sample: its labels and values}."""
    found: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for metric in source.collect():
        for sample in metric.samples:
            found[sample.name].append((sample.labels, sample.value))
    return found


def exposition(routes: Routes, drift: Drift) -> bytes:
    """Everything in Prometheus's text format; `drift` is as `service.telemetry.drift.drift_of` gives it."""
    registry = CollectorRegistry()
    source = MultiProcessCollector(registry)
    registry.register(RoutesCollector(routes, drift))
    registry.register(AliasCollector(source))
    with locked(metrics_folder(), fcntl.LOCK_SH):
        return generate_latest(registry)


def metrics_folder() -> Path:
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


def statistics(model: str, version: int) -> dict[str, Any]:
    """Of one version, in the words of Triton's statistics extension: counts, and nanoseconds in all."""
    with locked(metrics_folder(), fcntl.LOCK_SH):
        samples = samples_of(MultiProcessCollector(CollectorRegistry()))
    labels = {"model": model, "version": str(version)}

    def total(name: str, **more: str) -> float:
        return sum(value for found, value in samples[name] if {**labels, **more}.items() <= found.items())

    def duration(metric: str) -> dict[str, int]:
        return {"count": int(total(f"{metric}_count")), "ns": int(total(f"{metric}_sum") * 1e9)}

    def requests(outcome: str) -> dict[str, int]:
        count = int(total("striate_model_requests_total", outcome=outcome))
        return {"count": count, "ns": int(total("striate_model_request_seconds_sum", outcome=outcome) * 1e9)}

    return {
        "name": model,
        "version": str(version),
        "last_inference": int(total("striate_last_inference_seconds") * 1000),
        "inference_count": int(total("striate_images_total", outcome="success")),
        "execution_count": int(total("striate_batch_size_count")),
        "inference_stats": {
            "success": requests("success"),
            "fail": requests("failure"),
            "queue": duration("striate_queue_wait_seconds"),
            "compute_input": duration("striate_decode_seconds"),
            "compute_infer": duration("striate_inference_seconds"),
            "compute_output": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    }
