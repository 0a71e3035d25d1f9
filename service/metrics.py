"""What /metrics says, added up over HTTP workers and engines, which all write into one directory.

The directory is PROMETHEUS_MULTIPROC_DIR, which the supervisor sets before any of them starts.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from service.routes import Routes

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)

REQUESTS = Counter("striate_requests", "HTTP requests", ["route", "status"])
LATENCY = Histogram("striate_request_seconds", "From a request's head to its answer", ["route"], buckets=SECONDS)
DECODE = Histogram("striate_decode_seconds", "Decoding one image", ["model", "version"], buckets=SECONDS)
QUEUE_WAIT = Histogram(
    "striate_queue_wait_seconds", "One image's wait for its batch", ["model", "version"], buckets=SECONDS
)
BATCH_SIZE = Histogram("striate_batch_size", "Images in a batch", ["model", "version"], buckets=IMAGES)
INFERENCE = Histogram("striate_inference_seconds", "Computing one batch", ["model", "version"], buckets=SECONDS)


class EngineMetrics:
    """The series of one engine, looked up once."""

    def __init__(self, model: str, version: int) -> None:
        labels = (model, str(version))
        self._queue_wait = QUEUE_WAIT.labels(*labels)
        self._batch_size = BATCH_SIZE.labels(*labels)
        self._inference = INFERENCE.labels(*labels)

    def observe_batch(self, num_images: int, seconds: float) -> None:
        self._batch_size.observe(num_images)
        self._inference.observe(seconds)

    def observe_wait(self, seconds: float) -> None:
        self._queue_wait.observe(seconds)


class RoutesCollector:
    """What the supervisor says, as gauges."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        live = GaugeMetricFamily("striate_live_version", "The version that answers", labels=["model"])
        up = GaugeMetricFamily("striate_engine_up", "1 while its engine answers", labels=["model", "version"])
        restarts = GaugeMetricFamily("striate_engine_restarts", "Engines that died", labels=["model", "version"])
        for name, model in self._routes.models.items():
            live.add_metric([name], model.live or 0)
            for number, version in model.versions.items():
                up.add_metric([name, str(number)], version.state == "available")
                restarts.add_metric([name, str(number)], version.restarts)
        yield from (live, up, restarts)


def exposition(routes: Routes) -> bytes:
    """Everything in Prometheus's text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    registry.register(RoutesCollector(routes))
    return generate_latest(registry)
