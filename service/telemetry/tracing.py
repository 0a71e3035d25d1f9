"""Spans for OpenTelemetry, written from the record of a request that is over."""

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from models.errors import UserError
from service.config import Config
from service.telemetry.request_record import Record

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

NS = 1_000_000_000


def check_installed(config: Config) -> None:
    """
    Raises:
        UserError: spans are to be sent, and the libraries for it are not installed.
    """
    if config.otlp_endpoint and find_spec("opentelemetry") is None:
        raise UserError(
            f"SERVICE_OTLP_ENDPOINT is {config.otlp_endpoint}, and traces need OpenTelemetry, which is not installed "
            "here: pip install 'striate[traces]'."
        )


def tracer_for(config: Config) -> "SpanWriter | None":
    """None where no endpoint is set; the libraries are then not even imported."""
    if not config.otlp_endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "striate"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(config.otlp_endpoint)))
    return SpanWriter(provider.get_tracer("striate"))


class SpanWriter:
    """One span a request, and below it one for each of its stages: decode, queue, inference."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer

    def write(self, record: Record, route: str) -> None:
        """Below the span that the client's `traceparent` header names (https://www.w3.org/TR/trace-context/)."""
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = record.headers.get("traceparent")
        offset = time.time() - time.monotonic()  # spans want the time of day
        context = TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {})
        attributes: dict[str, Any] = {
            "http.route": route,
            "striate.request_id": record.request_id,
            "striate.images": record.num_images,
        }
        if record.model is not None and record.version is not None:
            attributes |= {"striate.model": record.model, "striate.version": record.version}
        if record.error is not None:
            attributes["error.type"] = record.error
        span = self._tracer.start_span(
            route, context, SpanKind.SERVER, attributes, start_time=nanoseconds(record.began, offset)
        )
        inside = set_span_in_context(span)
        for name, start, end in record.stages:
            self._tracer.start_span(name, inside, start_time=nanoseconds(start, offset)).end(nanoseconds(end, offset))
        span.end(nanoseconds(record.ended, offset))


def nanoseconds(monotonic_s: float, offset_s: float) -> int:
    return int((monotonic_s + offset_s) * NS)
