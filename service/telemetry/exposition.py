"""What /metrics and the statistics of the Open Inference Protocol say: one reading of the files of all processes."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from models.files.locks import locked
from service.ipc.routes import Routes
from service.mirror.status import read_status
from service.telemetry.metrics import VERSION, Drift

Samples = dict[str, list[tuple[dict[str, str], float]]]  # labels and value, by the sample's name

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


def exposition(routes: Routes, drift: Drift) -> bytes:
    """Everything in Prometheus's text format; `drift` is as `service.telemetry.drift.drift_of` gives it."""
    counts = read_counts()
    metrics = [*gauges(routes, drift), *counts, *aliases(samples_of(counts))]
    return generate_latest(SimpleNamespace(collect=lambda: metrics))


def statistics(versions: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Of each (model, version), in the words of Triton's statistics extension: counts, and nanoseconds in all."""
    samples = samples_of(read_counts())
    return [version_statistics(samples, model, version) for model, version in versions]


def version_statistics(samples: Samples, model: str, version: int) -> dict[str, Any]:
    labels = {"model": model, "version": str(version)}

    def total(name: str, **more: str) -> float:
        return sum(value for found, value in samples[name] if {**labels, **more}.items() <= found.items())

    def duration(metric: str, **more: str) -> dict[str, int]:
        return {"count": int(total(f"{metric}_count", **more)), "ns": int(total(f"{metric}_sum", **more) * 1e9)}

    return {
        "name": model,
        "version": str(version),
        "last_inference": int(total("striate_last_inference_seconds") * 1000),
        "inference_count": int(total("striate_images_total", outcome="success")),
        "execution_count": int(total("striate_batch_size_count")),
        "inference_stats": {
            "success": duration("striate_model_request_seconds", outcome="success"),
            "fail": duration("striate_model_request_seconds", outcome="failure"),
            "queue": duration("striate_queue_wait_seconds"),
            "compute_input": duration("striate_decode_seconds"),
            "compute_infer": duration("striate_inference_seconds"),
            "compute_output": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    }


def read_counts() -> list[Metric]:
    """The metrics of all processes; none ends or is added up meanwhile."""
    with locked(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / "lock", shared=True):
        return list(MultiProcessCollector(None).collect())


def gauges(routes: Routes, drift: Drift) -> tuple[GaugeMetricFamily, ...]:
    """What the supervisor says, as gauges, and how far the latest images are from what each version was judged by."""
    live = GaugeMetricFamily("striate_live_version", "Number of the live version", labels=["model"])
    fraction = GaugeMetricFamily(
        "striate_canary_fraction", "Share of the requests that the canary version answers", labels=["model"]
    )
    up = GaugeMetricFamily("striate_engine_up", "1 while an engine of a version answers", labels=VERSION)
    restarts = GaugeMetricFamily("striate_engine_restarts", "Number of engines of a version that died", labels=VERSION)
    load = GaugeMetricFamily(
        "striate_engine_load_seconds", "Seconds from the start of an engine until it is ready", labels=VERSION
    )
    engines = GaugeMetricFamily("striate_engines", "Number of engines of a version that answer", labels=VERSION)
    memory = GaugeMetricFamily(
        "striate_engine_memory_bytes", "Main memory of the largest engine of a version", labels=VERSION
    )
    state = GaugeMetricFamily("striate_version_state", "1 for the state of each version", labels=[*VERSION, "state"])
    for name, model in routes.models.items():
        live.add_metric([name], model.live or 0)
        fraction.add_metric([name], model.canary_fraction)
        for number, version in model.versions.items():
            up.add_metric([name, str(number)], version.state == "available")
            state.add_metric([name, str(number), version.state], 1)
            engines.add_metric([name, str(number)], len(version.endpoints))
            memory.add_metric([name, str(number)], version.description.get("memory_bytes") or 0)
            restarts.add_metric([name, str(number)], version.restarts)
            load.add_metric([name, str(number)], version.description.get("load_seconds") or 0)
    psi = GaugeMetricFamily(
        "striate_drift_psi", "Population stability index of the latest images", labels=[*VERSION, "statistic"]
    )
    for (name, number), found in drift.items():
        for statistic, value in found["psi"].items():
            psi.add_metric([name, str(number), statistic], value)
    store = GaugeMetricFamily(
        "striate_store_read_timestamp_seconds",
        "Time of the last look at the object store that had no fault; 0 before the first",
    )
    status = read_status(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).parent)
    if status is not None:
        store.add_metric([], status.read_at)
    return live, fraction, up, state, engines, memory, restarts, load, psi, store


def samples_of(metrics: Iterable[Metric]) -> Samples:
    found: Samples = defaultdict(list)
    for metric in metrics:
        for sample in metric.samples:
            found[sample.name].append((sample.labels, sample.value))
    return found


def aliases(samples: Samples) -> Iterator[Metric]:
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
