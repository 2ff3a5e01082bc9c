"""The formats of ``/metrics``: text as prometheus_client writes it, and protobuf.

Native histograms travel in protobuf only
(https://prometheus.io/docs/specs/native_histograms/#exposition-formats), which prometheus_client
does not write.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from penstock import protos
from penstock._native.sketch import LatencySketch

PROTOBUF_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
_TYPES = {"counter": 0, "gauge": 1, "info": 1, "summary": 2, "unknown": 3, "histogram": 4}
"""``MetricType`` of each type of prometheus_client's that occurs here."""
_SUFFIXES = {"counter": "_total", "info": "_info"}

Labels = tuple[tuple[str, str], ...]


class SketchFamily(HistogramMetricFamily):
    """Latency sketches: classic buckets in text, native ones where they can be told."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        super().__init__(name, documentation, labels=labels)
        self.sketches: dict[Labels, LatencySketch] = {}

    def add_sketch(self, labels: Sequence[str], sketch: LatencySketch) -> None:
        """Add one series."""
        buckets = [
            ("+Inf" if math.isinf(bound) else repr(bound), float(count))
            for bound, count in sketch.cumulative_buckets()
        ]
        self.add_metric(labels, buckets, sketch.sum)
        names = self._labelnames
        self.sketches[tuple(sorted(zip(names, labels, strict=True)))] = sketch


def encode(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """All metrics in the best format that a client accepts, and its content type."""
    if _wants_protobuf(accept):
        return encode_protobuf(registry.collect()), PROTOBUF_TYPE
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


def _wants_protobuf(accept: str) -> bool:
    """Whether it is accepted, and nothing of ours more than it."""
    weights: dict[str, float] = {}
    for entry in accept.split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        try:
            weight = float(given.get("q", "1"))
        except ValueError:
            weight = 0.0
        if kind == "application/vnd.google.protobuf":
            if given.get("proto") != "io.prometheus.client.MetricFamily":
                continue
            if given.get("encoding") != "delimited":
                continue
        weights[kind] = max(weight, weights.get(kind, 0.0))
    protobuf = weights.pop("application/vnd.google.protobuf", 0.0)
    texts = [weights.get("text/plain", 0.0), weights.get("application/openmetrics-text", 0.0)]
    return protobuf > 0 and protobuf >= max(texts)


def encode_protobuf(families: Iterable[Metric]) -> bytes:
    """Families behind each other, each behind its length."""
    out = bytearray()
    for family in families:
        encoded = _family(family).SerializeToString()
        out += _varint(len(encoded)) + encoded
    return bytes(out)


def _family(family: Metric) -> Any:
    kind = family.type if family.type in _TYPES else "unknown"
    message = protos.message("io.prometheus.client.MetricFamily")(
        name=family.name + _SUFFIXES.get(kind, ""), help=family.documentation, type=_TYPES[kind]
    )
    series: dict[Labels, Any] = {}
    for sample in family.samples:
        key = _key(sample.labels)
        metric = series.get(key)
        if metric is None:
            metric = series[key] = message.metric.add()
            for name, value in key:
                metric.label.add(name=name, value=value)
        _put(kind, metric, family.name, sample)
    if isinstance(family, SketchFamily):
        for key, sketch in family.sketches.items():
            _put_native(series[key].histogram, sketch)
    return message


def _key(labels: Mapping[str, str]) -> Labels:
    """What is the same for the samples of one series."""
    return tuple(sorted((name, value) for name, value in labels.items() if name != "le"))


def _put(kind: str, metric: Any, name: str, sample: Any) -> None:
    part = sample.name.removeprefix(name)
    if kind in ("gauge", "info"):
        metric.gauge.value = sample.value
    elif kind == "unknown":
        metric.untyped.value = sample.value
    elif kind == "counter" and part == "_total":
        metric.counter.value = sample.value
    elif kind == "summary" and part == "_count":
        metric.summary.sample_count = int(sample.value)
    elif kind == "summary" and part == "_sum":
        metric.summary.sample_sum = sample.value
    elif kind == "histogram" and part == "_bucket":
        metric.histogram.bucket.add(
            cumulative_count=int(sample.value), upper_bound=float(sample.labels["le"])
        )
    elif kind == "histogram" and part == "_count":
        metric.histogram.sample_count = int(sample.value)
    elif kind == "histogram" and part == "_sum":
        metric.histogram.sample_sum = sample.value


def _put_native(histogram: Any, sketch: LatencySketch) -> None:
    native = sketch.to_prometheus()
    # Of the native histogram and the classic one alike: what both have counted.
    histogram.sample_count = native["sample_count"]
    histogram.sample_sum = native["sample_sum"]
    histogram.schema = native["schema"]
    histogram.zero_threshold = native["zero_threshold"]
    histogram.zero_count = native["zero_count"]
    for offset, length in native["positive_spans"]:
        histogram.positive_span.add(offset=offset, length=length)
    histogram.positive_delta.extend(native["positive_deltas"])


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
