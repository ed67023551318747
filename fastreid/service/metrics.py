"""Metrics of the service in the format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms of one application, in its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "fastreid_requests", "Answered requests", ["method", "route", "status"], registry=self.registry
        )
        self.request_s = Histogram(
            "fastreid_request_seconds", "Time of a request", ["route"], registry=self.registry, buckets=_SECONDS
        )
        self.running = Gauge("fastreid_running_requests", "Requests that are being answered", registry=self.registry)
        self.batch_size = Histogram(
            "fastreid_batch_pictures", "Pictures per batch of the network", registry=self.registry, buckets=_SIZES
        )
        self.network_s = Histogram(
            "fastreid_network_seconds", "Time of a batch", registry=self.registry, buckets=_SECONDS
        )
        self.search_s = Histogram(
            "fastreid_search_seconds", "Time of a search in the table", registry=self.registry, buckets=_SECONDS
        )
        self.ready = Gauge("fastreid_ready", "1 if the model and the features are loaded", registry=self.registry)

    def render(self) -> bytes:
        """Return all metrics as text."""
        return bytes(generate_latest(self.registry))
