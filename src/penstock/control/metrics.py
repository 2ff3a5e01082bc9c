"""Prometheus metrics, read from the core's counters when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from penstock._native.engine import Engine

if TYPE_CHECKING:
    from penstock.repository import ModelRepository

MODEL_LABELS = ("model", "version")
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class PenstockCollector(Collector):
    """Nothing is counted here: a scrape costs, a request does not."""

    def __init__(self, engine: Engine, repository: ModelRepository) -> None:
        self._engine = engine
        self._repository = repository

    def collect(self) -> Iterable[Metric]:
        yield from _transport(self._engine.statistics())
        yield from _models(
            [
                ((loaded.spec.name, str(loaded.spec.version)), loaded.version.statistics())
                for loaded in self._repository.versions()
            ]
        )


def _counter(name: str, text: str, value: Any) -> Metric:
    return CounterMetricFamily(f"penstock_{name}", text, value=value)


def _gauge(name: str, text: str, value: Any) -> Metric:
    return GaugeMetricFamily(f"penstock_{name}", text, value=value)


def _transport(stats: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("connections", "Connections open.", stats["connections"])
    yield _counter("connections", "Connections accepted.", stats["connections_total"])
    yield _gauge("calls", "gRPC calls open.", stats["streams"])
    yield _counter("calls", "gRPC calls begun.", stats["requests_total"])
    yield _gauge("in_flight_bytes", "Message bytes held.", stats["bytes_in_flight"])
    yield _counter("received_bytes", "Bytes read from sockets.", stats["bytes_received"])
    yield _counter("sent_bytes", "Bytes written to sockets.", stats["bytes_sent"])
    answers = CounterMetricFamily("penstock_answers", "gRPC calls ended.", labels=["code"])
    for code, count in stats["answers"].items():
        answers.add_metric([code], count)
    yield answers
    limits = CounterMetricFamily(
        "penstock_limit_hits", "Times a limit of the transport was hit.", labels=["limit"]
    )
    for limit, count in stats["limits"].items():
        limits.add_metric([limit], count)
    yield limits


def _models(versions: list[tuple[tuple[str, str], dict[str, Any]]]) -> Iterator[Metric]:
    def counter(name: str, text: str, key: str, scale: float = 1) -> Metric:
        family = CounterMetricFamily(f"penstock_{name}", text, labels=MODEL_LABELS)
        for labels, stats in versions:
            family.add_metric(labels, stats[key] * scale)
        return family

    def gauge(name: str, text: str, key: str) -> Metric:
        family = GaugeMetricFamily(f"penstock_{name}", text, labels=MODEL_LABELS)
        for labels, stats in versions:
            family.add_metric(labels, stats[key])
        return family

    def by_reason(name: str, text: str, key: str) -> Metric:
        family = CounterMetricFamily(f"penstock_{name}", text, labels=(*MODEL_LABELS, "reason"))
        for labels, stats in versions:
            for reason, count in stats[key].items():
                family.add_metric((*labels, reason), count)
        return family

    nano = 1e-9
    yield counter("requests", "Requests answered with a result.", "success")
    yield by_reason("failures", "Requests answered without a result.", "failure")
    yield counter("rows", "Rows computed.", "inference_count")
    yield by_reason("batches", "Batches released, by why they were.", "released")
    yield counter("request_seconds", "From arrival to answer, summed.", "success_ns", nano)
    yield counter("queue_seconds", "From arrival to batch, summed.", "queue_ns", nano)
    yield counter("compute_seconds", "In the backend, summed.", "compute_infer_ns", nano)
    yield gauge("queue_depth", "Requests queued.", "queue_depth")
    yield gauge("queued_rows", "Rows queued.", "queued_rows")
    yield gauge("in_flight", "Requests queued or running.", "in_flight")
    yield _batch_sizes(versions)
    yield from _costs(versions)


def _batch_sizes(versions: list[tuple[tuple[str, str], dict[str, Any]]]) -> Metric:
    family = HistogramMetricFamily("penstock_batch_rows", "Rows of a batch.", labels=MODEL_LABELS)
    for labels, stats in versions:
        sizes = {rows: size["count"] for rows, size in stats["batch_sizes"].items()}
        buckets = [
            (str(float(bound)), float(sum(n for rows, n in sizes.items() if rows <= bound)))
            for bound in BATCH_BUCKETS
        ]
        buckets.append(("+Inf", float(sum(sizes.values()))))
        family.add_metric(labels, buckets, float(sum(rows * n for rows, n in sizes.items())))
    return family


def _costs(versions: list[tuple[tuple[str, str], dict[str, Any]]]) -> Iterator[Metric]:
    fixed = GaugeMetricFamily(
        "penstock_cost_batch_seconds",
        "Learned cost of a batch, whatever its rows.",
        labels=MODEL_LABELS,
    )
    per_row = GaugeMetricFamily(
        "penstock_cost_row_seconds", "Learned cost of each row of a batch.", labels=MODEL_LABELS
    )
    for labels, stats in versions:
        if stats["cost_us"] is not None:
            a, b = stats["cost_us"]
            fixed.add_metric(labels, a * 1e-6)
            per_row.add_metric(labels, b * 1e-6)
    yield fixed
    yield per_row
