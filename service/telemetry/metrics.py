"""What /metrics says, added up over HTTP workers and engines, which all write into one directory.

The directory is PROMETHEUS_MULTIPROC_DIR, which the supervisor sets before any of them starts. What those counted that
have ended is there, too (service.telemetry.remains).
"""

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1)
VERSION = ("model", "version")

REQUESTS = Counter("striate_requests", "HTTP requests", ["route", "status"])
LATENCY = Histogram(
    "striate_request_seconds", "Seconds from the head of a request to its answer", ["route"], buckets=SECONDS
)
ERRORS = Counter("striate_errors", "Error answers, by their code", ["code"])
ASKED = Counter("striate_model_requests", "Requests that a version answered: success, failure", [*VERSION, "outcome"])
TOOK = Histogram(
    "striate_model_request_seconds",
    "Seconds from the head of a request to the answer of a version",
    [*VERSION, "outcome"],
    buckets=SECONDS,
)
FAULTS = Counter("striate_model_faults", "Requests that failed with a 5xx status other than 503", VERSION)
ANSWERED = Counter("striate_images", "Images in the requests of a version: success, failure", [*VERSION, "outcome"])
KEY_REQUESTS = Counter("striate_key_requests", "Requests with a named API key, by their status", ["key", "status"])
KEY_IMAGES = Counter("striate_key_images", "Images in answered requests with a named API key", ["key"])
SHADOW = Counter(
    "striate_shadow_images", "Images sent to a shadow version: agrees, differs, failed, skipped", [*VERSION, "outcome"]
)
CONFIDENCE = Histogram(
    "striate_confidence", "Probability of the most probable class of each image", VERSION, buckets=SHARES
)
FAR = Histogram(
    "striate_out_of_distribution",
    "For each image, the share of held-out images that are more usual",
    VERSION,
    buckets=(0.5, 0.9, 0.95, 0.99, 0.999, 1),
)
FEEDBACK = Counter("striate_feedback", "Labels received as feedback, by what became of them", ["model", "outcome"])
FEEDBACK_BYTES = Gauge(
    "striate_feedback_bytes",
    "Bytes of a feedback folder, when it was last written",
    ["model"],
    multiprocess_mode="mostrecent",
)
FEEDBACK_LIMIT = Gauge(
    "striate_feedback_limit_bytes",
    "SERVICE_FEEDBACK_BYTES, once a feedback folder was written",
    ["model"],
    multiprocess_mode="mostrecent",
)
KEPT = Counter("striate_kept_images", "Images kept to be labelled later: kept, dropped", ["model", "outcome"])
WAITING = Gauge("striate_waiting_images", "Images in the queue now", ["model"], multiprocess_mode="livesum")
LAST = Gauge("striate_last_inference_seconds", "Unix time of the last inference", VERSION, multiprocess_mode="max")
DECODE = Histogram("striate_decode_seconds", "Seconds to decode one image", VERSION, buckets=SECONDS)
QUEUE_WAIT = Histogram(
    "striate_queue_wait_seconds", "Seconds that one image waited for its batch", VERSION, buckets=SECONDS
)
BATCH_SIZE = Histogram("striate_batch_size", "Number of images in a batch", VERSION, buckets=IMAGES)
INFERENCE = Histogram("striate_inference_seconds", "Seconds to compute one batch", VERSION, buckets=SECONDS)

Drift = dict[tuple[str, int], dict[str, Any]]
