"""What a service tells Prometheus about itself at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from windmill.services.engine import Batch

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Numbers of one service; names begin with `windmill_service_`, times are in seconds."""

    def __init__(self, service: str) -> None:
        self._registry = CollectorRegistry()
        self._service = service
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            "windmill_service_request_seconds",
            "From a request's first byte to its answer.",
            ["service", "path", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "windmill_service_stage_seconds",
            "Parts of a request: preprocess (decoding, too), wait, predict (of a whole batch), postprocess.",
            ["service", "stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "windmill_service_batch_size",
            "Inputs that the model looked at together.",
            ["service"],
            buckets=_SIZES,
            registry=self._registry,
        ).labels(service)
        self._refused = Counter(
            "windmill_service_full",
            "Requests that found the queue full.",
            ["service"],
            registry=self._registry,
        ).labels(service)

    def watch(self, queue: Callable[[], int], in_hand: Callable[[], int], loaded: Callable[[], bool]) -> None:
        """Reads these whenever somebody asks."""
        for name, text, read in (
            ("queue_length", "Inputs that wait for the model.", queue),
            ("in_hand", "Requests that are not answered yet.", in_hand),
            ("model_loaded", "1 while the model is in memory.", loaded),
        ):
            gauge = Gauge(f"windmill_service_{name}", text, ["service"], registry=self._registry)
            gauge.labels(self._service).set_function(read)

    def request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(self._service, path, str(status)).observe(seconds)

    def stage(self, name: str, seconds: float) -> None:
        self._stages.labels(self._service, name).observe(seconds)

    def batch(self, batch: Batch) -> None:
        self._batches.observe(batch.size)
        self.stage("wait", batch.waited)
        self.stage("predict", batch.took)

    def full(self) -> None:
        self._refused.inc()

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
