"""Prometheus metrics, read from the core's counters when somebody asks.

Names follow https://prometheus.io/docs/practices/naming/: base units, ``_total`` on counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from penstock import __version__
from penstock._native.engine import Engine
from penstock.control.monitor_metrics import monitor_metrics, triton_metrics

if TYPE_CHECKING:
    from penstock.control.readiness import Readiness
    from penstock.repository import ModelRepository

MODEL_LABELS = ("model", "version")
NANO = 1e-9
STAGES = {
    "queue": "queue_ns",
    "compute_input": "compute_input_ns",
    "compute_infer": "compute_infer_ns",
    "compute_output": "compute_output_ns",
}
"""As in Triton's InferStatistics."""


class PenstockCollector(Collector):
    """Nothing is counted here: a scrape costs, a request does not."""

    def __init__(self, engine: Engine, repository: ModelRepository, readiness: Readiness) -> None:
        self._engine = engine
        self._repository = repository
        self._readiness = readiness

    def collect(self) -> Iterable[Metric]:
        """All families; each scrape reads every counter once."""
        yield InfoMetricFamily("penstock_build", "What serves.", {"version": __version__})
        yield GaugeMetricFamily(
            "penstock_ready", "Whether ServerReady says yes.", float(self._readiness.ready)
        )
        yield from _transport(self._engine.statistics())
        loaded = self._repository.versions()
        rows = [
            _Row(
                (each.spec.name, str(each.spec.version)),
                each.spec.batching.max_batch_size,
                each.version.statistics(),
            )
            for each in loaded
        ]
        yield from _models(rows)
        yield from monitor_metrics([each.watcher for each in loaded if each.watcher is not None])
        yield from triton_metrics([(row.labels, row.stats) for row in rows])


@dataclass(frozen=True, slots=True)
class _Row:
    """What is known of one model version."""

    labels: tuple[str, str]
    max_batch_size: int
    stats: dict[str, Any]


def _transport(stats: dict[str, Any]) -> Iterator[Metric]:
    def gauge(name: str, text: str, key: str) -> Metric:
        return GaugeMetricFamily(f"penstock_{name}", text, stats[key])

    def counter(name: str, text: str, key: str) -> Metric:
        return CounterMetricFamily(f"penstock_{name}", text, stats[key])

    def by_label(name: str, text: str, label: str, key: str) -> Metric:
        family = CounterMetricFamily(f"penstock_{name}", text, labels=[label])
        for value, count in stats[key].items():
            family.add_metric([value], count)
        return family

    yield gauge("open_connections", "Connections open.", "connections")
    yield counter("connections", "Connections accepted.", "connections_total")
    yield gauge("open_calls", "gRPC calls open.", "streams")
    yield counter("calls", "gRPC calls begun.", "requests_total")
    yield by_label("calls_ended", "gRPC calls ended, by status.", "code", "answers")
    yield gauge("in_flight_bytes", "Bytes of messages held.", "bytes_in_flight")
    yield counter("received_bytes", "Bytes read from gRPC sockets.", "bytes_received")
    yield counter("sent_bytes", "Bytes written to gRPC sockets.", "bytes_sent")
    yield by_label("limit_hits", "Times a limit of the transport was hit.", "limit", "limits")


def _models(rows: list[_Row]) -> Iterator[Metric]:
    def fill(family: Any, value: Callable[[dict[str, Any]], float]) -> Metric:
        for row in rows:
            family.add_metric(row.labels, value(row.stats))
        metric: Metric = family
        return metric

    def counter(name: str, text: str, value: Callable[[dict[str, Any]], float]) -> Metric:
        return fill(CounterMetricFamily(f"penstock_{name}", text, labels=MODEL_LABELS), value)

    def gauge(name: str, text: str, key: str) -> Metric:
        family = GaugeMetricFamily(f"penstock_{name}", text, labels=MODEL_LABELS)
        return fill(family, lambda stats: stats[key])

    def by_reason(name: str, text: str, key: str) -> Metric:
        family = CounterMetricFamily(f"penstock_{name}", text, labels=(*MODEL_LABELS, "reason"))
        for row in rows:
            for reason, count in row.stats[key].items():
                family.add_metric((*row.labels, reason), count)
        return family

    yield counter(
        "requests",
        "Requests answered, with a result or a failure.",
        lambda stats: stats["success"] + sum(stats["failure"].values()),
    )
    yield by_reason("failures", "Requests answered with a failure.", "failure")
    yield counter("rows", "Rows computed.", lambda stats: stats["inference_count"])
    yield by_reason("batches", "Batches released, by why they were.", "released")
    yield _batch_sizes(rows)
    yield gauge("queue_depth", "Requests queued.", "queue_depth")
    yield gauge("queued_rows", "Rows queued.", "queued_rows")
    yield gauge("in_flight_requests", "Requests queued or computed.", "in_flight")
    yield _stages(rows)
    yield from _costs(rows)
    yield _last_request(rows)


def _batch_sizes(rows: list[_Row]) -> Metric:
    """Buckets at the powers of two, and the largest batch that the model may have."""
    family = HistogramMetricFamily("penstock_batch_rows", "Rows of a batch.", labels=MODEL_LABELS)
    for row in rows:
        largest = max(1, row.max_batch_size)
        bounds = [1 << power for power in range(largest.bit_length())]
        if bounds[-1] < largest:
            bounds.append(largest)
        sizes = {size: of["count"] for size, of in row.stats["batch_sizes"].items()}
        buckets = [
            (str(float(bound)), float(sum(n for size, n in sizes.items() if size <= bound)))
            for bound in bounds
        ]
        buckets.append(("+Inf", float(sum(sizes.values()))))
        total = float(sum(size * n for size, n in sizes.items()))
        family.add_metric(row.labels, buckets, total)
    return family


def _stages(rows: list[_Row]) -> Metric:
    family = SummaryMetricFamily(
        "penstock_stage_duration_seconds",
        "Parts of penstock_request_duration_seconds.",
        labels=(*MODEL_LABELS, "stage"),
    )
    for row in rows:
        for stage, key in STAGES.items():
            labels = (*row.labels, stage)
            family.add_metric(labels, row.stats["success"], row.stats[key] * NANO)
    return family


def _costs(rows: list[_Row]) -> Iterator[Metric]:
    batch = GaugeMetricFamily(
        "penstock_cost_batch_seconds",
        "Learned: what a batch costs, however many rows it has.",
        labels=MODEL_LABELS,
    )
    per_row = GaugeMetricFamily(
        "penstock_cost_row_seconds", "Learned: what each row adds.", labels=MODEL_LABELS
    )
    for row in rows:
        if row.stats["cost_us"] is not None:
            fixed_us, row_us = row.stats["cost_us"]
            batch.add_metric(row.labels, fixed_us * 1e-6)
            per_row.add_metric(row.labels, row_us * 1e-6)
    yield batch
    yield per_row


def _last_request(rows: list[_Row]) -> Metric:
    """Absent until there was one: 0 would be 1970."""
    family = GaugeMetricFamily(
        "penstock_last_inference_timestamp_seconds",
        "When a batch was last computed, since the epoch.",
        labels=MODEL_LABELS,
    )
    for row in rows:
        if row.stats["last_inference_ms"] > 0:
            family.add_metric(row.labels, row.stats["last_inference_ms"] / 1e3)
    return family
