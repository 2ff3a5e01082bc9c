"""Prometheus metrics of the monitor: latency by window and slice, drift by feature.

And Triton's names for what it counts too, so that dashboards and autoscalers made for it work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    UnknownMetricFamily,
)

from penstock.control.exposition import SketchFamily
from penstock.monitoring.watcher import QUANTILES, STAGES, ModelWatcher, WindowView
from penstock.spec import ABOVE, BELOW, MISSING

if TYPE_CHECKING:
    from penstock.monitoring.profile import FeatureProfile

_MODEL = ("model", "version")
_FEATURE = (*_MODEL, "feature", "role")
VERDICTS = {"insufficient data": 0, "stable": 1, "warning": 2, "drifted": 3}
"""Values of penstock_drift_verdict."""
_HISTOGRAMS = {
    "total": (
        "penstock_request_duration_seconds",
        "From arrival to result, of requests that have one.",
    ),
    "queue": (
        "penstock_queue_duration_seconds",
        "From arrival to batch, of requests that have a result.",
    ),
    "compute": (
        "penstock_compute_duration_seconds",
        "From batch to result, of requests that have one.",
    ),
}
_TRITON = {
    "nv_inference_request_success": ("Requests with a result.", "success"),
    "nv_inference_request_failure": ("Requests without one.", "failure"),
    "nv_inference_count": ("Rows computed.", "inference_count"),
    "nv_inference_exec_count": ("Batches computed.", "execution_count"),
    "nv_inference_request_duration_us": ("Sum over requests.", "success_ns"),
    "nv_inference_queue_duration_us": ("Sum over requests.", "queue_ns"),
    "nv_inference_compute_input_duration_us": ("Sum over requests.", "compute_input_ns"),
    "nv_inference_compute_infer_duration_us": ("Sum over requests.", "compute_infer_ns"),
    "nv_inference_compute_output_duration_us": ("Sum over requests.", "compute_output_ns"),
}


def monitor_metrics(watchers: Sequence[ModelWatcher]) -> Iterator[Metric]:
    """Of every version that is watched, from one reading of each."""
    views = [(watcher, watcher.windows()) for watcher in watchers]
    yield from _durations(views)
    yield _quantiles(views)
    yield _slices(views)
    yield from _drift(views)
    yield from _counted_features(views)


def triton_metrics(rows: Sequence[tuple[tuple[str, str], dict[str, Any]]]) -> Iterator[Metric]:
    """Counters by Triton's names.

    Of no type, because prometheus_client would end a counter's name in ``_total``.

    Args:
        rows: (model and version, ``Version.statistics()``).
    """
    for name, (text, key) in _TRITON.items():
        family = UnknownMetricFamily(name, text, labels=_MODEL)
        for labels, stats in rows:
            value = sum(stats[key].values()) if key == "failure" else stats[key]
            family.add_metric(labels, value // 1000 if key.endswith("_ns") else value)
        yield family


def _labels(watcher: ModelWatcher) -> tuple[str, str]:
    return watcher.spec.name, str(watcher.spec.version)


_Views = Sequence[tuple[ModelWatcher, dict[str, WindowView]]]


def _durations(views: _Views) -> Iterator[Metric]:
    for stage, (name, text) in _HISTOGRAMS.items():
        family = SketchFamily(name, text, labels=_MODEL)
        for watcher, windows in views:
            family.add_sketch(_labels(watcher), windows["start"].latency[stage])
        yield family


def _quantiles(views: _Views) -> Metric:
    family = GaugeMetricFamily(
        "penstock_latency_quantile_seconds",
        "Of the requests of a window, within 0.54 %.",
        labels=(*_MODEL, "stage", "window", "quantile"),
    )
    for watcher, windows in views:
        for window, view in windows.items():
            for stage in STAGES:
                sketch = view.latency[stage]
                if sketch.count == 0:
                    continue
                for q, value in zip(
                    QUANTILES.values(), sketch.quantiles(QUANTILES.values()), strict=True
                ):
                    family.add_metric((*_labels(watcher), stage, window, str(q)), value)
    return family


def _slices(views: _Views) -> Metric:
    family = GaugeMetricFamily(
        "penstock_slice_latency_quantile_seconds",
        "Of the requests of a window that named a slice, from arrival to result.",
        labels=(*_MODEL, "slice", "window", "quantile"),
    )
    for watcher, windows in views:
        for window, view in windows.items():
            for name, stages in view.slices.items():
                sketch = stages["total"]
                if sketch.count == 0:
                    continue
                for q, value in zip(
                    QUANTILES.values(), sketch.quantiles(QUANTILES.values()), strict=True
                ):
                    family.add_metric((*_labels(watcher), name, window, str(q)), value)
    return family


def _drift(views: _Views) -> Iterator[Metric]:
    labels = (*_FEATURE, "window")

    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"penstock_drift_{name}", text, labels=labels)

    families = {
        "psi": gauge("psi", "Population stability index: the size of the shift, not its verdict."),
        "js": gauge("js_divergence", "Jensen-Shannon divergence."),
        "ks": gauge("ks_distance", "Kolmogorov-Smirnov distance over the bins."),
        "wasserstein": gauge("wasserstein_distance", "In the feature's unit."),
        "p_adjusted": gauge("p_value", "Of no drift, adjusted over features."),
    }
    verdict = gauge("verdict", "0 insufficient data, 1 stable, 2 warning, 3 drifted.")
    for watcher, windows in views:
        profile = watcher.profile
        if profile is None:
            continue
        for window, view in windows.items():
            report = watcher.drift_report(view)
            if report is None:
                continue
            told = report.to_dict()["features"]
            for feature, found in zip(profile.features, told, strict=True):
                where = (*_feature_labels(watcher, feature), window)
                verdict.add_metric(where, VERDICTS[found["verdict"]])
                for key, family in families.items():
                    if found[key] is not None:
                        family.add_metric(where, found[key])
    yield from families.values()
    yield verdict


def _counted_features(views: _Views) -> Iterator[Metric]:
    outside = CounterMetricFamily(
        "penstock_feature_out_of_range_rows",
        "Rows whose value is beyond the reference's range, or none of its categories.",
        labels=_FEATURE,
    )
    missing = CounterMetricFamily(
        "penstock_feature_missing_rows", "Rows whose value is missing.", labels=_FEATURE
    )
    for watcher, windows in views:
        profile, counts = watcher.profile, windows["start"].drift
        if profile is None or counts is None or len(counts) != len(profile.features):
            continue
        for feature, row in zip(profile.features, counts, strict=True):
            where = _feature_labels(watcher, feature)
            outside.add_metric(where, int(row[BELOW] + row[ABOVE]))
            missing.add_metric(where, int(row[MISSING]))
    yield outside
    yield missing


def _feature_labels(watcher: ModelWatcher, feature: FeatureProfile) -> tuple[str, ...]:
    return (*_labels(watcher), feature.name, feature.role)
