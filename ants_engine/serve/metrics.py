"""Prometheus metrics of the server."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ServerMetrics:
    """Counters and gauges of one server; the number of label values does not depend on clients."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        """Start from zero, in an own registry."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "ants_serve_requests", "Requests by route and status", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "ants_serve_request_seconds", "From headers to answer", ["route"], buckets=SECONDS, registry=self._registry
        )
        self._pictures = Counter("ants_serve_pictures", "Items by outcome", ["outcome"], registry=self._registry)
        self._refused = Counter("ants_serve_refused", "Refused requests by reason", ["reason"], registry=self._registry)
        self._batches = Histogram(
            "ants_serve_batch_pictures",
            "Pictures of one CLIP call",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self._registry,
        )
        self._clip = Histogram("ants_serve_clip_seconds", "One CLIP call", buckets=SECONDS, registry=self._registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def items(self, outcome: str, count: int = 1) -> None:
        """Count items: ``known``, ``unknown`` or ``unreadable``."""
        self._pictures.labels(outcome).inc(count)

    def refused(self, reason: str) -> None:
        """Count a refusal by its kind."""
        self._refused.labels(reason).inc()

    def clip_call(self, pictures: int, seconds: float) -> None:
        """Note one CLIP call."""
        self._batches.observe(pictures)
        self._clip.observe(seconds)

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read on request."""
        Gauge(f"ants_serve_{name}", what, registry=self._registry).set_function(value)

    def page(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
