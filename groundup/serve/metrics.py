"""Metrics of a server for Prometheus."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from groundup.generate.service import ServiceStats
from groundup.serve.request_stats import RequestStats

PATHS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/detections", "/v1/models"),
    *("/api/settings", "/api/runs", "/health", "/ready", "/metrics"),
)
_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_GAUGES = ("running", "waiting", "pages_total", "pages_used", "pages_cached", "alive")
_COUNTERS = ("prompt_tokens", "cached_tokens", "generated_tokens", "preemptions", "steps")
_FIELDS = {f"pages_{name}": f"blocks_{name}" for name in ("total", "used", "cached")}
_FIELDS |= {"prompt_tokens": "prefilled_tokens", "cached_tokens": "prefix_hit_tokens"}


class Metrics:
    """Counters, gauges and histograms of one server; `states` gives the engines' statistics by model."""

    def __init__(self, states: Callable[[], Iterable[tuple[str, ServiceStats]]]):
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "groundup_requests", "requests by path and status", ("path", "status"), registry=self._registry
        )
        self.in_flight = Gauge("groundup_requests_under_way", "requests being answered", registry=self._registry)
        self.seconds = Histogram(
            "groundup_request_seconds",
            "seconds to answer",
            ("path",),
            registry=self._registry,
            buckets=_LATENCY_BUCKETS,
        )
        self.first_token = Histogram(
            "groundup_first_token_seconds",
            "seconds to the first token",
            ("model",),
            registry=self._registry,
            buckets=_LATENCY_BUCKETS,
        )
        self.token_gap = Histogram(
            "groundup_token_gap_seconds",
            "seconds between tokens",
            ("model",),
            registry=self._registry,
            buckets=_GAP_BUCKETS,
        )
        self._registry.register(_Engines(states))

    def observe(self, path: str, status: int, seconds: float, record: RequestStats) -> None:
        """Count a finished request."""
        self.requests.labels(path_label(path), str(status)).inc()
        self.seconds.labels(path_label(path)).observe(seconds)
        if record.model is not None and record.first_token_seconds is not None:
            self.first_token.labels(record.model).observe(record.first_token_seconds)
            for gap in record.token_gaps:
                self.token_gap.labels(record.model).observe(gap)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return bytes(generate_latest(self._registry))


class _Engines(Collector):
    """Metrics of the engines, collected when they are scraped."""

    def __init__(self, states: Callable[[], Iterable[tuple[str, ServiceStats]]]):
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """One metric family for each number, one sample for each model."""
        states = list(self._states())
        for name in _GAUGES:
            yield _family(
                GaugeMetricFamily(
                    f"groundup_engine_{name}", f"{name.replace('_', ' ')} of the engine", labels=("model",)
                ),
                name,
                states,
            )
        for name in _COUNTERS:
            yield _family(
                CounterMetricFamily(
                    f"groundup_engine_{name}", f"{name.replace('_', ' ')} of the engine", labels=("model",)
                ),
                name,
                states,
            )


def _family(family: Any, name: str, states: list[tuple[str, ServiceStats]]) -> Metric:
    for model, state in states:
        family.add_metric((model,), float(getattr(state, _FIELDS.get(name, name))))
    return family  # type: ignore[no-any-return]


def path_label(path: str) -> str:
    """A path as a label; unknown paths share one label, so the cardinality is bounded."""
    return next((known for known in PATHS if path == known or path.startswith(known + "/")), "other")
